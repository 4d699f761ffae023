from pathlib import Path

from autoseg.cli.findings_table import findings_table

FOLDER = Path("/d/Dataset001_A")


def test_each_kind_has_its_number_three_examples_the_others_and_the_advice():
    faults = [f"{FOLDER}/labelsTr/c{k}.nii.gz: values are not declared (found: {k}; expected: 0); correct it"
              for k in range(9, 14)]
    assert findings_table([f"{FOLDER}/dataset.json: the number is wrong", *faults], "fault", FOLDER).splitlines() == [
        "6 faults of 2 kinds: correct before the dataset is used",
        "     5  values are not declared",
        "          labelsTr/c9.nii.gz (found: 9; expected: 0)",
        "          labelsTr/c10.nii.gz (found: 10; expected: 0)",
        "          labelsTr/c11.nii.gz (found: 11; expected: 0)",
        "          and 2 more: c12.nii.gz, c13.nii.gz",
        "        -> correct it",
        "     1  the number is wrong",
        "          dataset.json"]


def test_a_thousand_findings_of_ten_kinds_fit_on_a_screen_or_two():
    warnings = [f"{FOLDER}/imagesTr/c{k:03d}_0000.nii.gz: the {'abcdefghij'[k % 10]} form differs by {k} mm; look at it"
                for k in range(1000)]
    lines = findings_table(warnings, "warning", FOLDER, width=100).splitlines()
    assert len(lines) <= 1 + 10 * 7 and max(map(len, lines)) <= 100
    assert "the a form differs by 0..990 mm" in lines[1]
