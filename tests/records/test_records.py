import json
import math
import subprocess
import sys
from dataclasses import asdict, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adamantine.errors import CheckpointError, UsageError
from adamantine.records import (
    MEASURED,
    RESERVED,
    STATUSES,
    EpochRecord,
    ParameterRecord,
    RunRecord,
    finite,
    parse,
    parse_lines,
    to_line,
)

floats = st.floats(allow_nan=True, allow_infinity=True)
parameters = st.builds(
    ParameterRecord,
    elements=st.integers(0, 2**63),
    learning_rates=st.tuples(floats, floats),
    **dict.fromkeys(MEASURED, floats),
)
names = st.text(min_size=1).filter(lambda name: name not in RESERVED)
epochs = st.builds(
    EpochRecord,
    epoch=st.integers(0, 2**63),
    average_loss=floats,
    test_loss=floats,
    test_metric=floats,
    train_seconds=floats,
    test_seconds=floats,
    lr=floats,
    metric=st.just("accuracy") | names,
)
measured_epochs = st.builds(
    replace, epochs, parameters=st.dictionaries(st.text(max_size=5), parameters, max_size=1)
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | floats | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)
objects = st.dictionaries(st.text(), json_values)
runs = st.builds(
    RunRecord,
    configuration=objects,
    versions=st.dictionaries(st.text(), st.text()),
    machine=objects,
    status=st.sampled_from(STATUSES),
    started=st.text(),
    options=objects,
    epochs=st.lists(epochs, max_size=3).map(tuple),
)

GOOD = {
    "epoch": 1,
    "average_loss": 0.3256,
    "test_loss": 0.19,
    "test_accuracy": 0.945,
    "train_seconds": 0.5,
    "test_seconds": 0.1,
    "lr": 0.001,
}


def same_but_for_infinities(read: EpochRecord, written: EpochRecord) -> bool:
    """JSON has one word, null, for all that is not finite: it is read back as NaN."""
    plain = [finite(asdict(record)) for record in (read, written)]
    return plain[0] == plain[1]


def complaint(read, *arguments):
    """What `read` says against its input; empty when it takes it."""
    try:
        read(*arguments)
    except CheckpointError as error:
        return str(error)
    return ""


def refuse_constant(name):
    raise AssertionError(f"{name} is not JSON")


def test_an_epochs_json_has_exactly_the_promised_keys():
    record = EpochRecord(1, 0.3256, 0.19, 0.945, 0.5, 0.1, 0.001)
    assert record.to_json() == GOOD
    assert json.loads(to_line(record)) == GOOD


@given(epochs | measured_epochs)
def test_epoch_round_trip(record):
    line = to_line(record)
    assert "\n" not in line
    data = json.loads(line, parse_constant=refuse_constant)
    assert same_but_for_infinities(EpochRecord.from_json(data), record)


@settings(max_examples=40)
@given(runs)
def test_run_round_trip(run):
    text = json.dumps(run.to_json(), allow_nan=False)
    read = RunRecord.from_json(parse(text, "text"))
    assert read.to_json() == run.to_json()
    assert read.status == run.status
    assert len(read.epochs) == len(run.epochs)
    assert all(map(same_but_for_infinities, read.epochs, run.epochs))


@settings(max_examples=40)
@given(runs)
def test_header_is_the_record_without_epochs(run):
    assert RunRecord.from_json(run.header()).to_json() == {**run.to_json(), "epochs": []}


@given(st.lists(epochs, max_size=4))
def test_metrics_lines_round_trip(records):
    text = "".join(f"{to_line(record)}\n" for record in records)
    read = parse_lines(text, "metrics.jsonl")
    assert len(read) == len(records)
    assert all(map(same_but_for_infinities, read, records))


@given(json_values | st.dictionaries(st.sampled_from([*GOOD, "test_", "test_x"]), json_values))
def test_any_json_is_read_or_refused_clearly(data):
    for read in (EpochRecord.from_json, RunRecord.from_json):
        said = complaint(read, data, "here")
        assert not said or said.startswith("here")


@given(st.text())
def test_any_text_is_read_or_refused_clearly(text):
    said = complaint(parse_lines, text, "metrics.jsonl")
    assert said.startswith("metrics.jsonl, line ") or not text.strip()


@pytest.mark.parametrize("key", sorted(GOOD))
def test_a_missing_key_is_named(key):
    data = {name: value for name, value in GOOD.items() if name != key}
    with pytest.raises(CheckpointError, match="test_<name>" if key == "test_accuracy" else key):
        EpochRecord.from_json(data)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("epoch", 1.5, "epoch is 1.5, expected an integer"),
        ("epoch", True, "epoch is True, expected an integer"),
        ("lr", "0.1", "lr is '0.1', expected a number or null"),
        ("lr", True, "lr is True"),
        ("lr", 10**400, "float64"),
        ("test_f1", 0.5, "exactly one metric"),
    ],
)
def test_a_wrong_value_is_shown(key, value, message):
    with pytest.raises(CheckpointError, match=message):
        EpochRecord.from_json({**GOOD, key: value}, "metrics.jsonl, line 3")


PARAMETER = dict.fromkeys(MEASURED, 0.5) | {"elements": 3, "learning_rates": [0.1, None]}


def test_parameters_read_and_written():
    record = EpochRecord.from_json({**GOOD, "parameters": {"a.weight": PARAMETER}})
    assert record.parameters["a.weight"].elements == 3
    assert record.parameters["a.weight"].learning_rates == (
        0.1,
        pytest.approx(math.nan, nan_ok=True),
    )
    assert json.loads(to_line(record))["parameters"] == {"a.weight": PARAMETER}
    assert EpochRecord.from_json(GOOD).parameters is None


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([], "here: parameters: expected a JSON object, got list"),
        ({"w": 3}, "here: parameters: w: expected a JSON object, got int"),
        ({"w": {**PARAMETER, "elements": None}}, "w: elements is None, expected an integer"),
        ({"w": {**PARAMETER, "clipped": "x"}}, "w: clipped is 'x', expected a number or null"),
        ({"w": {**PARAMETER, "learning_rates": 1}}, "w: learning_rates is 1, expected a list"),
        ({"w": {**PARAMETER, "learning_rates": [1, ""]}}, r"w: learning_rates\[1\] is ''"),
        ({"w": {"elements": 3}}, "here: parameters: w: the key 'learning_rates' is missing"),
    ],
)
def test_parameters_that_cannot_be(value, message):
    with pytest.raises(CheckpointError, match=message):
        EpochRecord.from_json({**GOOD, "parameters": value}, "here")


def test_unknown_keys_are_ignored():
    assert EpochRecord.from_json({**GOOD, "gradient_norm": 1}).to_json() == GOOD


def test_a_bad_line_is_numbered():
    with pytest.raises(CheckpointError, match=r"m\.jsonl, line 3 is not valid JSON"):
        parse_lines(f"{json.dumps(GOOD)}\n\n{{", "m.jsonl")


@pytest.mark.parametrize("name", RESERVED)
def test_a_metric_cannot_take_anothers_key(name):
    record = EpochRecord(1, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    with pytest.raises(UsageError, match="cannot be called"):
        replace(record, metric=name)


def test_not_finite_is_null_at_any_depth():
    assert finite({"a": [math.nan, (math.inf, 1)], "b": {"c": -math.inf}}) == {
        "a": [None, [None, 1]],
        "b": {"c": None},
    }


def test_an_unknown_status_is_refused():
    header = RunRecord({}, {}, {}).header() | {"status": "done"}
    with pytest.raises(CheckpointError, match="status is 'done', expected one of running"):
        RunRecord.from_json(header, "run.json")


def test_records_need_the_standard_library_only():
    code = (
        "import sys, types; p = types.ModuleType('adamantine'); "
        f"p.__path__ = [{str(__import__('adamantine').__path__[0])!r}]; "
        "sys.modules['adamantine'] = p; import adamantine.records; "
        "print(*sorted({m.partition('.')[0] for m in sys.modules} - sys.stdlib_module_names"
        " - {'adamantine', '__main__'}))"
    )
    result = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == ""
