import pytest

from autoseg.base.errors import UserError
from autoseg.datasets.findings import finding_of, grouped, shortened


@pytest.mark.parametrize(("error", "parts"), [
    (UserError("it is bad"), ("", "it is bad", "", "")),
    (UserError("it is bad", where="/d/a b.nii.gz", found=3), ("/d/a b.nii.gz", "it is bad", "found: 3", "")),
    (UserError("it is bad", where="case c1", expected="(1, 2)", do="mend it; or not"),
     ("case c1", "it is bad", "expected: (1, 2)", "mend it; or not")),
    (UserError("it is bad", found="a: (b); c", expected="d", do="mend it"),
     ("", "it is bad", "found: a: (b); c; expected: d", "mend it")),
    (UserError("it is bad", found="3", do="write 4 (5 for a)"), ("", "it is bad", "found: 3", "write 4 (5 for a)")),
    (UserError("it is bad", found="a (b", do="mend it"), ("", "it is bad", "found: a (b", "mend it")),
])
def test_a_users_error_is_taken_apart_as_it_was_composed(error, parts):
    finding = finding_of(str(error))
    assert (finding.where, finding.what, finding.details, finding.do) == parts
    assert finding.text == str(error)


def test_what_differs_in_files_names_and_figures_is_one_kind():
    (kind,) = grouped([f"channel 1 'PET' (/d/c{k}_0001.nii.gz) covers {k}.5% of the grid of channel 0 'CT'"
                       for k in (3, 1, 2)])
    assert kind.title == "channel 1 'PET' (…) covers 1.5%..3.5% of the grid of channel 0 'CT'"
    assert [finding.place for finding in kind.findings] == [f"/d/c{k}_0001.nii.gz" for k in (3, 1, 2)]


def test_figures_in_mm_are_an_interval():
    (kind,) = grouped(["/d/a.nii: the forms differ by 3 mm", "/d/b.nii: the forms differ by 35.6 mm"])
    assert kind.title == "the forms differ by 3..35.6 mm"


def test_the_most_frequent_kind_comes_first_and_others_in_their_order():
    kinds = grouped(["/d/a.nii: one", "/d/a.nii: two", "/d/b.nii: three", "/d/c.nii: three"])
    assert [(len(kind.findings), kind.title) for kind in kinds] == [(2, "three"), (1, "one"), (1, "two")]


def test_advice_that_differs_in_words_is_left_out():
    (kind,) = grouped(["/d/a.nii: bad (found: 1); do this", "/d/b.nii: bad (found: 2); do that"])
    assert kind.do == ""


def test_paths_are_relative_to_the_folder():
    assert shortened("/d/D1/a.nii, /d/D1/b.nii of /d/D1", "/d/D1") == "a.nii, b.nii of D1"
