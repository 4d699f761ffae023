"""Names of cases, patients and sites that stay the same from run to run and say nothing of who they are."""

from dataclasses import dataclass
from hashlib import blake2b

_PATIENT_BYTES = 5  # of 100 000 patients, two share a name with a chance of 0.5 %; two cases of one name are refused
_STUDY_BYTES = 3


@dataclass(frozen=True)
class Pseudonyms:
    """`key` is the workspace's secret: who does not have it cannot find a patient by trying numbers."""

    key: bytes

    def patient(self, identifier: str) -> str:
        """Such as `P3f09a1b2c4`: the same for the same patient, whatever white space or case the scanner adds."""
        return f"P{self._digest('patient', ' '.join(identifier.split()).casefold(), _PATIENT_BYTES)}"

    def study(self, uid: str) -> str:
        """Of a study among those of a patient, such as `a01b2c`."""
        return self._digest("study", uid, _STUDY_BYTES)

    def site(self, name: str) -> str:
        """Of a hospital; empty where its name is."""
        text = " ".join(name.split()).casefold()
        return f"S{self._digest('site', text, _STUDY_BYTES)}" if text else ""

    def content(self, text: str) -> str:
        """A digest by which a second run knows what a case was made of."""
        return self._digest("content", text, 16)

    def _digest(self, kind: str, text: str, n_bytes: int) -> str:
        return blake2b(text.encode("utf-8", "replace"), digest_size=n_bytes, key=self.key, person=kind.encode()).hexdigest()
