"""Sentences of README and documentation that say what the saved benchmarks say."""

from statistics import median

from benchmarks.measure import paired_difference

from benchmarks import extras, markdown, precision, sparse


def medians(cases, name):
    """Of a benchmark's case, by contender."""
    (case,) = (case for case in cases if case.get("case") == name)
    samples = case.get("nanoseconds") or {
        label: each["nanoseconds"] for label, each in case["contenders"].items()
    }
    return {label: median(each) for label, each in samples.items()}


def shorter(time, than):
    return f"{100 * (1 - time / than):.0f} %"


def of_readme(records):
    runs = [run for run in records["accuracy"]["runs"] if run["workload"] == "mnist"]
    points = {
        precision: [
            100 * run["epochs"][-1]["test_accuracy"]
            for run in runs
            if run["precision"] == precision
        ]
        for precision in ("float32", "int8")
    }
    _, low, high = paired_difference(points["int8"], points["float32"])
    assert max(-low, high) <= 0.1
    yield "on MNIST the accuracy stays within 0.1 points"
    times = medians(records["precision"]["steps"], "one tensor of 64 Mi")
    ours = times[precision.OURS["int8"].label]
    yield f"a step with them is {shorter(ours, times[precision.FUSED.label])} shorter than torch's"
    first = median(next(iter(records["startup"]["seconds"].values()))["first step"])
    words = {3: "three", 4: "four"}
    yield f"**The first step after installation compiles** for about {words[round(first)]} seconds"
    times = medians(records["gpu_host"]["cases"], "300 tensors × 1,000")
    ours, theirs = times["adamantine.Adam(backend='gpu')"], times["torch.optim.Adam(foreach=True)"]
    yield f"a step of 300 tensors × 1,000 costs the host {markdown.duration(ours * 1e-9)}"
    yield f"torch's default takes {markdown.duration(theirs * 1e-9)} for them on the CPU"


def of_memory(records):
    times = medians(records["precision"]["steps"], "one tensor of 64 Mi")
    float32, bfloat16, int8 = (
        times[precision.OURS[name].label] for name in ("float32", "bfloat16", "int8")
    )
    yield (
        f"in bfloat16 is {shorter(bfloat16, float32)} shorter than in float32, and in int8 "
        f"{shorter(int8, float32)}"
    )


def of_stats(records):
    times = medians(records["extras"]["cases"], "one tensor of 64 Mi")
    longer = 100 * (times[extras.STATS] / times[extras.PLAIN] - 1)
    yield f"takes {longer:.0f} % longer, because its loop computes three more sums"
    yield f"all steps together take {longer / 10:.1f} % longer"


def of_step_options(records):
    times = medians(records["extras"]["cases"], "one tensor of 64 Mi")
    longer = 100 * (times[extras.SCALED] / times[extras.PLAIN] - 1)
    yield f"which makes an AdamW step of 64 Mi parameters {longer:.0f} % longer"


def of_in_backward(records):
    times = medians(records["extras"]["cases"], "a pass over 300 tensors × 1,000")
    more = times[extras.INSIDE] - times[extras.AFTER]
    yield f"1,000: {more / 1e6:.0f} ms per pass, which is {more / 300e3:.0f} µs a tensor"


def of_sparse(records):
    cases = records["sparse"]["cases"]
    ratios = {
        label: [
            (each := medians(cases, case["case"]))[label] / next(iter(each.values()))
            for case in cases
        ]
        for label in sparse.CONTENDERS
    }
    _, exact, attached, torchs = ratios.values()
    yield (
        f"`SparseAdam` takes {min(torchs):.1f} to {max(torchs):.1f} times as long as `lazy`, and "
        f"`exact` up to {max(exact):.1f} times as long, or {max(attached):.1f} with `attach`"
    )
    many = list(of_tables(records, "26 tables", "Adam"))
    yield f"On 26 small tables, `SparseAdam` takes {min(many):.1f} to {max(many):.1f} times as long"
    one = list(of_tables(records, "1 table", "SGD"))
    assert max(one) < 1
    yield f"torch's, which takes {min(one):.2f} to {max(one):.2f} times as long"
    flush = medians(records["extras"]["cases"], "a table of 1,000,000 × 64")[extras.FLUSH]
    yield f"takes {flush / 1e6:.0f} ms for a table of 1,000,000 × 64"


def of_tables(records, tables, optimizer):
    """How many times as long as ours torch's step takes, by kind of gradient."""
    for case in records["tables"]["cases"]:
        if case["tables"].startswith(f"{tables} ") and case["optimizer"].startswith(
            f"`{optimizer}("
        ):
            ours, theirs = map(median, case["nanoseconds"].values())
            yield theirs / ours


def of_grids(records):
    found = records["formats"]
    by_name = {each["name"]: each for each in (*found["eight"], *found["four"])}
    chosen, narrow, wide = (by_name[f"E4M3 and {second}"] for second in ("E5M3", "E4M4", "E6M2"))
    noise = 100 * chosen["second_noise"]
    yield f"{noise:.0f} % noise in v and {noise / 2:.0f} % in √v"
    yield f"({100 * narrow['second_noise']:.0f} % noise of v instead of {noise:.0f} %)"
    small = [100 * (1 - narrow["spread"][decades]["gain"]) for decades in (3, 5)]
    yield f"updates are {small[0]:.0f} % too small on average, at five {small[1]:.0f} %"
    yield f"and {100 * wide['second_noise']:.0f} % noise"
    yield f"with E4M3 the noise is {100 * chosen['first_noise']:.0f} % of m's own standard"
    yield f"({by_name['dynamic, nearest']['quiet']:.1f} times too large after 1,000 quiet steps)"
    half = by_name["E2M1 and E4M0"]
    yield f"varies by {100 * half['second_noise']:.0f} %"
    yield f"that makes updates {100 * (half['spread'][0]['gain'] - 1):.0f} % too large on average"
    nearest = by_name["Li et al.: both nearest"]["spread"][3]["gain"]
    yield (
        f"is {by_name['dynamic and E4M0']['spread'][3]['gain']:.2f} with the dynamic map and E4M0, "
        f"and {nearest:.2f} with the format of Li et al."
    )
    accuracies = found["training"]["accuracy_percent"]
    of_four = {
        name: accuracies[name]
        for name in accuracies
        if name in {each["name"] for each in found["four"]}
    }
    ends = [paired_difference(each, accuracies["float32"])[1:] for each in of_four.values()]
    yield f"by more than {-min(low for low, _ in ends):.2f} points"
    assert min(low for low, _ in ends) > -0.2 < 0.2 < max(high for _, high in ends)
    yield "intervals that go beyond ±0.2 do so upwards"
    errors = [
        [each["spread"][decades]["error"] for each in rows for decades in (1, 3, 5)]
        for rows in (found["four"], [chosen])
    ]
    yield f"an error of {100 * min(errors[0]):.0f} to {100 * max(errors[0]):.0f} %"
    yield f"with 8 bits the error is {100 * min(errors[1]):.0f} to {100 * max(errors[1]):.0f} %"
    mixed = by_name["E4M3 in 8 bits, E4M0 in 4"]["spread"]
    assert max(mixed[d]["error"] / half["spread"][d]["error"] for d in (1, 3, 5)) < 2 / 5


def of_precision(records):
    (chosen,) = (each for each in records["formats"]["eight"] if each["name"] == "E4M3 and E5M3")
    noise = 100 * chosen["second_noise"]
    yield f"An 8-bit second moment varies by {noise:.0f} %, which is {noise / 2:.0f} % in the step"
    yield f"steps also become about {100 * (chosen['spread'][0]['gain'] - 1):.0f} % longer"
    (light,) = (
        each
        for each in records["precision"]["trainings"]
        if each["name"].endswith("bfloat16 parameters")
    )
    held = (light["model_bytes"] + light["optimizer_bytes"]) / light["parameters"]
    yield f"take {held:.2f} bytes per parameter ({held + 1:.2f} with a 24-bit master)"
