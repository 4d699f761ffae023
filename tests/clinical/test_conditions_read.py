"""Conditions of patients: what may be missing, and what is refused, in which rows."""

import numpy as np
import pytest

from autoseg.base.errors import ManyFaults, UserError
from autoseg.clinical.condition_stats import condition_stats, with_widths
from autoseg.clinical.conditions import CaseConditions, read_conditions, read_conditions_to_predict
from planners.schema.conditions import ConditionSpec, ConditionTable

AGE = ConditionSpec(name="age", kind="number")
SEX = ConditionSpec(name="sex", kind="category")
ECOG = ConditionSpec(name="ecog", kind="ordinal", order=("0", "1", "2"))
RNA = ConditionSpec(name="rna", kind="vector", folder="vectors/rna")
TILES = ConditionSpec(name="tiles", kind="tokens", folder="tokens/tiles")


def declared(*specs, table="clinical.csv"):
    return ConditionTable(table=table, id="case", specs=specs)


@pytest.fixture
def folder(tmp_path):
    """Write files: text to a table, arrays to .npy."""

    def write(**files):
        for name, content in files.items():
            path = tmp_path / name.replace("__", "/")
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, str):
                path.with_suffix(".csv").write_text(content, encoding="utf-8")
            else:
                np.save(path.with_suffix(".npy"), content)
        return tmp_path

    return write


def values(found, column):
    return {name: case.values[column] for name, case in found.cases.items()}


def test_numbers_categories_and_ranks_are_read(folder):
    place = folder(clinical="case,age,sex,ecog\na,59,f,0\nb,61.5,m,2.0\n")
    found = read_conditions(place, declared(AGE, SEX, ECOG), ["a", "b"])
    assert found.cases["a"] == CaseConditions(values={"age": 59.0, "sex": "f", "ecog": "0"})
    assert found.cases["b"].values == {"age": 61.5, "sex": "m", "ecog": "2"}
    assert found.warnings == ()


def test_a_table_as_it_comes_is_read(folder):
    place = folder(clinical="\ufeffcase;Größe – cm;sex\na;3,5;f\n;;\nb;>=90;--\nc;N/A;m\n\n* measured by hand\n")
    table = declared(ConditionSpec(name="Größe – cm", kind="number"), SEX)
    found = read_conditions(place, table, ["a", "b", "c"])
    assert values(found, "Größe – cm") == {"a": 3.5, "b": 90.0, "c": None}
    assert values(found, "sex") == {"a": "f", "b": None, "c": "m"}


def test_a_case_without_a_row_lacks_everything(folder):
    found = read_conditions(folder(clinical="case,age,sex\na,59,f\n"), declared(AGE, SEX), ["a", "b"])
    assert found.cases["b"].values == {"age": None, "sex": None}
    assert [warning.split(": ", 1)[1] for warning in found.warnings] == ["1 of 2 cases have no row (b)"]


def test_rows_without_a_case_are_one_warning(folder):
    place = folder(clinical="case,age\na,59\nx,1\ny,many\n,3\n")
    (warning,) = read_conditions(place, declared(AGE), ["a"]).warnings
    assert warning.endswith("clinical.csv: 3 rows without a case (x, y, none in line 5)")


def test_a_numeric_category_is_one_however_it_is_written(folder):
    found = read_conditions(folder(clinical="case,sex\na,1\nb,1.0\nc, 1\n"), declared(SEX), ["a", "b", "c"])
    assert set(values(found, "sex").values()) == {"1"}


def test_categories_that_differ_in_case_only_are_told(folder):
    (warning,) = read_conditions(folder(clinical="case,sex\na,male\nb,Male\nc,f\n"), declared(SEX), ["a", "b", "c"]).warnings
    assert "the column 'sex' has categories that differ in case only: Male, male" in warning


def test_a_unit_of_some_cells_alone_and_a_point_beside_semicolons_are_warnings(folder):
    found = read_conditions(folder(clinical="case,age\na,59\nb,7 months\n"), declared(AGE), ["a", "b"])
    assert "1 cells of the column 'age' have a unit and the others none" in found.warnings[0]
    assert "'7 months' (case b, line 3)" in found.warnings[0]
    thousands = read_conditions(folder(clinical="case;age\na;850\nb;1.200\n"), declared(AGE), ["a", "b"])
    assert values(thousands, "age") == {"a": 850.0, "b": 1.2}
    assert "are read with a decimal point, though cells are separated by semicolons: '1.200'" in thousands.warnings[0]
    alike = folder(clinical="case,age\na,59 y\nb,7 years\n")
    assert read_conditions(alike, declared(AGE), ["a", "b"]).warnings == ()


def test_a_number_far_from_all_others_is_a_warning_of_training(folder):
    rows = "".join(f"c{age},{age},f\n" for age in (*range(40, 70, 3), 999))
    place, names = folder(clinical="case,age,sex\n" + rows), [f"c{age}" for age in (*range(40, 70, 3), 999)]
    (warning,) = read_conditions(place, declared(AGE), names).warnings
    assert "1 number of the column 'age' lies far from all others: 999 (case c999, line 12)" in warning
    assert "or declare the transform log" in warning
    logarithm = AGE.model_copy(update={"transform": "log"})
    assert "transform" not in read_conditions(place, declared(logarithm), names).warnings[0]  # nor is its logarithm near


def test_a_word_for_missing_that_the_order_lists_is_a_value(folder):
    pain = ConditionSpec(name="pain", kind="ordinal", order=("none", "mild"))
    found = read_conditions(folder(clinical="case,pain\na,none\nb,mild\nc,\n"), declared(pain), ["a", "b", "c"])
    assert values(found, "pain") == {"a": "none", "b": "mild", "c": None}


def test_a_column_that_says_nothing_is_told(folder):
    found = read_conditions(folder(clinical="case,age,sex\na,--,f\nb,,m\n"), declared(AGE, SEX), ["a", "b"])
    assert "the column 'age' says nothing of any case" in found.warnings[0]


def test_text_in_a_number_column_is_an_error_with_all_its_rows(folder):
    place = folder(clinical="case,age\na,59\nb,sixty\nc,61\nd,old\n")
    with pytest.raises(UserError) as raised:
        read_conditions(place, declared(AGE), ["a", "b", "c", "d"])
    assert "clinical.csv: text in the number column 'age'" in str(raised.value)
    assert "'sixty' (case b, line 3), 'old' (case d, line 5)" in str(raised.value)


def test_text_in_a_row_without_a_case_is_no_error(folder):
    found = read_conditions(folder(clinical="case,age\na,59\nmean,see text\n"), declared(AGE), ["a"])
    assert values(found, "age") == {"a": 59}


def test_a_number_without_a_logarithm_is_an_error_with_its_rows(folder):
    afp = ConditionSpec(name="afp", kind="number", transform="log")
    with pytest.raises(UserError, match=r"'afp' has no logarithm in some rows \(found: '0' \(case b, line 3\)"):
        read_conditions(folder(clinical="case,afp\na,3\nb,0\n"), declared(afp), ["a", "b"])


def test_a_value_outside_an_order_is_an_error_with_its_rows(folder):
    with pytest.raises(UserError, match=r"'ecog' are not in its order \(found: '5' \(case b, line 3\); expected: 0, 1, 2\)"):
        read_conditions(folder(clinical="case,ecog\na,1\nb,5\n"), declared(ECOG), ["a", "b"])


def test_a_column_that_is_not_there_is_an_error_that_lists_the_columns(folder):
    with pytest.raises(UserError, match=r"there is no column 'age', did you mean 'Age'\? \(found: case, Age, sex\)"):
        read_conditions(folder(clinical="case,Age,sex\na,59,f\n"), declared(AGE, SEX), ["a"])


def test_a_column_of_the_cases_names_that_is_not_there_is_an_error(folder):
    with pytest.raises(UserError, match=r"there is no column 'case', did you mean 'cases'\?.*id, the column of the cases"):
        read_conditions(folder(clinical="cases,age\na,59\n"), declared(AGE), ["a"])


def test_a_case_in_several_rows_is_an_error_with_the_lines(folder):
    with pytest.raises(UserError, match=r"cases have several rows \(found: a in lines 2, 4; expected: one row per case\)"):
        read_conditions(folder(clinical="case,age\na,59\nb,61\na,60\n"), declared(AGE), ["a", "b"])


def test_a_table_of_other_cases_is_an_error(folder):
    with pytest.raises(UserError, match=r"no row names a case in the column 'case' \(found: 1, 2; expected: a, b\)"):
        read_conditions(folder(clinical="case,age\n1,59\n2,61\n"), declared(AGE), ["a", "b"])


def test_an_empty_table_is_an_error(folder):
    with pytest.raises(UserError, match="the table is empty"):
        read_conditions(folder(clinical="case,age\n"), declared(AGE), ["a"])


def test_a_missing_table_is_an_error(tmp_path):
    with pytest.raises(UserError, match=r"clinical\.csv: the file is missing"):
        read_conditions(tmp_path, declared(AGE), ["a"])


def test_all_faults_are_told_at_once(folder):
    place = folder(clinical="case,age,ecog\na,old,9\nb,1,1\n", vectors__rna__a=np.zeros(3),
                   vectors__rna__b=np.array([np.nan]))
    with pytest.raises(ManyFaults) as raised:
        read_conditions(place, declared(AGE, ECOG, SEX, RNA), ["a", "b"])
    assert len(raised.value.faults) == 4


def test_vectors_and_tokens_are_read_by_the_names_of_the_cases(folder):
    place = folder(vectors__rna__a=np.arange(3), tokens__tiles__b=np.ones((4, 2), np.float16))
    found = read_conditions(place, declared(RNA, TILES, table=""), ["a", "b"])
    assert found.cases["a"].vectors["rna"].tolist() == [0, 1, 2] and found.cases["a"].tokens["tiles"] is None
    assert found.cases["b"].tokens["tiles"].shape == (4, 2) and found.cases["b"].vectors["rna"] is None
    assert found.cases["a"].vectors["rna"].dtype == found.cases["b"].tokens["tiles"].dtype == np.float32


def test_a_vector_of_another_width_is_an_error_that_names_the_file(folder):
    place = folder(vectors__rna__a=np.zeros(3), vectors__rna__b=np.zeros(4), vectors__rna__c=np.zeros(3))
    with pytest.raises(UserError, match=r"b\.npy: the width of 'rna' is wrong \(found: 4 features; expected: 3, as most"):
        read_conditions(place, declared(RNA, table=""), ["a", "b", "c"])


def test_the_width_that_a_model_was_trained_with_is_expected(folder):
    place = folder(vectors__rna__a=np.zeros(3))
    with pytest.raises(UserError, match=r"a\.npy: the width of 'rna' is wrong \(found: 3 features; expected: 6\)"):
        read_conditions_to_predict(place, declared(RNA.model_copy(update={"width": 6}), table=""), ["a"])


@pytest.mark.parametrize(("array", "words"), [
    (np.array([1, np.nan]), r"NaN or infinity \(found: 1 of 2 values"), (np.array([np.inf]), "NaN or infinity"),
    (np.array([1e300]), "NaN or infinity"), (np.zeros((2, 3)), r"wrong shape \(found: \(2, 3\); expected: \(features,\)"),
    (np.zeros(0), "wrong shape"), (np.array(["x"]), "does not hold numbers"),
    (np.array([{}], dtype=object), "not an array of numbers"),
])
def test_a_damaged_vector_is_an_error_that_names_the_file(folder, array, words):
    with pytest.raises(UserError, match=r"a\.npy: .*" + words):
        read_conditions(folder(vectors__rna__a=array), declared(RNA, table=""), ["a"])


def test_a_bag_without_tokens_is_an_error(folder):
    with pytest.raises(UserError, match=r"wrong shape \(found: \(0, 3\); expected: \(tokens, features\)"):
        read_conditions(folder(tokens__tiles__a=np.zeros((0, 3))), declared(TILES, table=""), ["a"])


def test_a_missing_folder_of_vectors_is_an_error_in_training_only(tmp_path):
    with pytest.raises(UserError, match="the folder of 'rna' is missing"):
        read_conditions(tmp_path, declared(RNA, table=""), ["a"])
    assert read_conditions_to_predict(tmp_path, declared(RNA, table=""), ["a"]).cases["a"].vectors == {"rna": None}


def test_a_folder_of_vectors_of_other_cases_is_an_error(folder):
    with pytest.raises(UserError, match=r"no file is named after a case \(found: x; expected: such as a\.npy\)"):
        read_conditions(folder(vectors__rna__x=np.zeros(3)), declared(RNA, table=""), ["a"])


def test_vectors_without_a_case_are_a_warning(folder):
    found = read_conditions(folder(vectors__rna__a=np.zeros(3), vectors__rna__x=np.zeros(3)), declared(RNA, table=""), ["a"])
    assert found.warnings[0].endswith("rna: 1 file without a case (x)")


def test_cases_without_a_vector_are_told(folder):
    place = folder(vectors__rna__a=np.zeros(3))
    for read in (read_conditions, read_conditions_to_predict):
        (warning,) = read(place, declared(RNA, table=""), ["a", "b", "c"]).warnings
        assert warning.endswith("rna: 2 of 3 cases have no file (b, c)")


def test_nothing_declared_is_nothing_read(tmp_path):
    assert read_conditions(tmp_path, ConditionTable(), ["a"]).cases == {"a": CaseConditions()}


def test_at_prediction_the_table_may_be_named(folder, tmp_path):
    place = folder(elsewhere__mine="case,age,sex\na,59,f\n")
    table = place / "elsewhere" / "mine.csv"
    found = read_conditions_to_predict(tmp_path / "imgs", declared(AGE, SEX), ["a"], table_path=table)
    assert found.cases["a"].values == {"age": 59, "sex": "f"} and found.warnings == ()
    with pytest.raises(UserError, match=r"nowhere\.csv: the file is missing"):
        read_conditions_to_predict(tmp_path, declared(AGE), ["a"], table_path=tmp_path / "nowhere.csv")


@pytest.mark.parametrize("name", ["tables__patients", "patients", "clinical"])
def test_at_prediction_the_table_lies_beside_the_images(folder, name):
    place = folder(**{name: "case,age\na,59\n"})
    found = read_conditions_to_predict(place, declared(AGE, table="tables/patients.csv"), ["a"])
    assert found.cases["a"].values == {"age": 59}


def test_at_prediction_there_may_be_no_table(tmp_path):
    found = read_conditions_to_predict(tmp_path, declared(AGE, SEX), ["a"])
    assert found.cases["a"].values == {"age": None, "sex": None}
    assert "no table (clinical.csv): the columns age, sex are missing in all cases" in found.warnings[0]


def test_at_prediction_columns_may_lack(folder):
    found = read_conditions_to_predict(folder(clinical="case,sex\na,f\nz,m\n"), declared(AGE, SEX), ["a"])
    assert found.cases["a"].values == {"age": None, "sex": "f"}
    assert [warning.split(": ", 1)[1] for warning in found.warnings] == [
        "1 row without a case (z)", "there is no column 'age': it is missing in all cases"]


def test_at_prediction_cases_without_a_row_are_told(folder):
    place = folder(clinical="case,age\n95,59\n100,61\n")
    found = read_conditions_to_predict(place, declared(AGE), ["095", "100"])
    assert values(found, "age") == {"095": None, "100": 61}
    assert "1 of 2 cases have no row (095); 95 looks like 095" in found.warnings[0]


def test_cases_of_a_patient_share_the_row_of_a_table_of_patients(folder):
    place = folder(clinical="case,age\nP1,59\nP2,61\n")
    table = declared(AGE).model_copy(update={"match": "prefix"})
    for read in (read_conditions, read_conditions_to_predict):
        assert values(read(place, table, ["P1_2019", "P1_2020", "P2_2019"]), "age") == {
            "P1_2019": 59, "P1_2020": 59, "P2_2019": 61}


def test_cells_in_which_a_formula_failed_are_missing_and_told(folder):
    place = folder(clinical="case,age,sex\na,#VALUE!,f\nb,61,#REF!\nc,#N/A,m\n")
    found = read_conditions(place, declared(AGE, SEX), ["a", "b", "c"])
    assert values(found, "age") == {"a": None, "b": 61, "c": None}
    assert values(found, "sex") == {"a": "f", "b": None, "c": "m"}
    assert [warning.split(": ", 1)[1] for warning in found.warnings] == [
        "2 cells of the column 'age' hold the error of a formula and count as missing: '#VALUE!' (case a, line 2), '#N/A' "
        "(case c, line 4)",
        "1 cells of the column 'sex' hold the error of a formula and count as missing: '#REF!' (case b, line 3)"]


def test_a_category_that_a_spreadsheet_took_for_a_date_is_told(folder):
    (warning,) = read_conditions(folder(clinical="case,sex\na,2-Jan-20\nb,3-4\n"), declared(SEX), ["a", "b"]).warnings
    assert "1 cells of the column 'sex' look like dates" in warning and "'2-Jan-20' (case a, line 2)" in warning


def test_at_prediction_a_table_of_other_cases_is_a_warning(folder):
    found = read_conditions_to_predict(folder(clinical="case,age\nz,59\n"), declared(AGE), ["a"])
    assert found.cases["a"].values == {"age": None} and "no row names a case" in found.warnings[0]


def test_at_prediction_what_is_there_must_be_sound(folder):
    with pytest.raises(UserError, match="text in the number column 'age'"):
        read_conditions_to_predict(folder(clinical="case,age\na,old\n"), declared(AGE), ["a"])
    with pytest.raises(UserError, match="there is no column 'case'"):
        read_conditions_to_predict(folder(clinical="name,age\na,1\n"), declared(AGE), ["a"])


def test_a_table_that_no_model_asks_for_is_a_warning(folder):
    place = folder(clinical="case,age\na,59\n")
    found = read_conditions_to_predict(place, ConditionTable(), ["a"], table_path=place / "clinical.csv")
    assert "the model uses no column of a table" in found.warnings[0]


def test_statistics_are_of_the_transformed_numbers():
    afp = ConditionSpec(name="afp", kind="number", transform="log")
    cases = [CaseConditions({"afp": 1.0, "sex": "f", "age": None}, {"rna": np.zeros(3)}),
             CaseConditions({"afp": float(np.exp(2)), "sex": "f", "age": None}, {"rna": None}),
             CaseConditions({"afp": None, "sex": "m"}), CaseConditions()]
    stats = {one.name: one for one in condition_stats(declared(afp, SEX, AGE, RNA), cases)}
    assert (stats["afp"].missing, stats["afp"].distinct) == (0.5, 2)
    assert (stats["afp"].mean, stats["afp"].std) == (pytest.approx(1), pytest.approx(1))
    assert (stats["sex"].missing, stats["sex"].distinct, stats["sex"].mean) == (0.25, 2, None)
    assert (stats["age"].missing, stats["age"].distinct, stats["age"].mean) == (1, 0, None)
    assert (stats["rna"].missing, stats["rna"].distinct) == (0.75, 0)


def test_widths_are_those_of_the_cases():
    cases = [CaseConditions(), CaseConditions({}, {"rna": np.zeros(3)}, {"tiles": np.zeros((7, 5))})]
    assert [spec.width for spec in with_widths(declared(AGE, RNA, TILES), cases).specs] == [None, 3, 5]


def test_the_real_table_is_read(shared_data):
    specs = [ConditionSpec(name=name, kind=kind) for name, kind in (
        ("Age", "number"), ("Sex", "category"), ("Time – diagnosis to MRI scan (days)", "number"))]
    specs.append(ConditionSpec(name="Grade", kind="ordinal", order=("Low", "Intermediate", "High")))
    source = shared_data / "Dataset010_STS"
    names = [path.name.removesuffix(".nii.gz") for path in sorted((source / "labelsTr").glob("*.nii.gz"))]
    table = ConditionTable(table="clinical.csv", specs=tuple(specs))
    found = read_conditions(source, table, names)
    assert found.warnings == () and len(found.cases) == 31
    assert found.cases["STS_001"].values == {"Age": 59, "Sex": "Male", "Time – diagnosis to MRI scan (days)": -7,
                                             "Grade": "High"}
    stats = {one.name: one for one in condition_stats(table, list(found.cases.values()))}
    assert stats["Grade"].missing == pytest.approx(2 / 31) and stats["Grade"].distinct == 3
    assert stats["Age"].missing == 0
