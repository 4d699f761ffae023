"""Names of columns that tell what happened after the scan: a model must not see what it should help to predict.

Words are matched whole: `OS`, `os_months` and `OSMonths` are overall survival, `dosage` is not.
"""

import itertools
import re
import unicodedata


def _words(*lines: str) -> frozenset[str]:
    return frozenset(" ".join(lines).split())


_OUTCOMES = _words(
    # what happened
    "outcome outcomes survival survived survivor survivors death deaths dead died deceased alive mortality recurrence",
    "recurrences recurred relapse relapsed progression progressed progressor remission event events endpoint endpoints",
    "vital censor censored censoring followup fu complication complications toxicity readmission prognosis",
    # how a treatment went, and that there was one: it is chosen after the scan
    "response responses responder responders nonresponder recist mrecist rcb trg treatment treatments treated therapy",
    "therapies chemo chemotherapy radiotherapy chemoradiotherapy immunotherapy radiochemotherapy surgery resection",
    "postoperative postop posttreatment",
    # the usual abbreviations of survival and of times to an event
    "os pfs dfs efs rfs lrfs mfs dmfs dss css ttp ttr ttd ttf",
    # German, French, Spanish
    "uberleben gesamtuberleben rezidiv tod verstorben verlauf behandlung therapie ansprechen survie deces recidive",
    "traitement suivi reponse supervivencia muerte fallecido recaida tratamiento seguimiento respuesta")
_PHRASES = (("follow", "up"), ("last", "contact"), ("time", "to"), ("days", "to"), ("months", "to"), ("lost", "to"))
# "prior treatment" was before the scan.
_BEFORE = frozenset({"prior", "previous", "previously", "pre", "past", "before", "earlier", "baseline"})
# A status that a patient has when the scan is made, unlike "status" alone or "vital status".
_STATUS_AT_BASELINE = _words(
    "performance ecog kps karnofsky who asa smoking smoker alcohol menopausal menopause marital nutritional functional",
    "her er pr hr hormone receptor mutation idh mgmt kras egfr braf msi hpv ebv hbv hcv hiv viral nodal node lymph",
    "codeletion gene genetic")


def outcome_word(name: str) -> str:
    """The word for which a column's name looks like an outcome; empty where it does not.

    >>> [outcome_word(name) for name in ("Overall survival", "OSMonths", "dosage", "ECOG status", "prior treatment")]
    ['survival', 'os', '', '', '']
    """
    if re.search(r"\bpCR\b", name):  # complete response; in other letters a laboratory test
        return "pCR"
    words = words_of(name)
    for first, second in itertools.pairwise(words):
        if (first, second) in _PHRASES:
            return f"{first} {second}"
    for word, before in zip(words, ["", *words], strict=False):
        if word in _OUTCOMES and before not in _BEFORE:
            return word
    return "status" if "status" in words and not _STATUS_AT_BASELINE & set(words) else ""


def words_of(name: str) -> list[str]:
    """The words of a column's name in lower case without accents: `OSMonths_2` is os, months, 2."""
    plain = "".join(c for c in unicodedata.normalize("NFKD", name) if not unicodedata.combining(c))
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", plain)
    return re.findall(r"[^\W\d_]+|\d+", apart.lower())
