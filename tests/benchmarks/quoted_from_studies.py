"""Sentences of the documentation that say what the saved studies say."""

from statistics import fmean, median

from benchmarks.studies import decisions, equals, lr_find, paper, searches, which
from benchmarks.studies.comparison import contestant
from benchmarks.studies.simulated import EXAMPLES, LEVEL

from adamantine.study.tune.plan import SAMPLERS


def interval(estimate, scale=1, digits=1):
    value, low, high = (
        f"{scale * number:.{digits}f}" for number in (estimate.value, estimate.low, estimate.high)
    )
    return value, f"[{low}, {high}]"


def per_cent(estimate):
    value, ends = interval(estimate, 100, 2)
    return f"{value} % {ends}"


def pair(study, first, second, quantity):
    (found,) = (
        each
        for each in study.differences
        if (each.first, each.second, each.quantity) == (first, second, quantity)
    )
    return found


def of_claims(records):
    tuned, to_95, untuned = map(records.study, ("claims", "claims-95", "claims-untuned"))
    assert [claim.holds for claim in tuned.claims] == ["not shown", "yes", "not shown"]
    assert to_95.claims[0].holds == "no"
    yield f"not to {100 * to_95.target:.0f} % accuracy, once SGD's learning rate is tuned too"
    yield f"to {100 * tuned.target:.1f} %, no difference could be shown"
    yield f"{100 * tuned.target:.1f} % is the worst one's best"
    yield f"Share of runs that have reached {100 * tuned.target:.1f} %"
    adam, sgd, momentum = (contestant(tuned, name) for name in ("adam", "sgd", "momentum"))
    assert pair(to_95, "adam", "sgd", "epochs_to_target").better == "sgd"
    assert pair(to_95, "adam", "momentum", "epochs_to_target").better == "momentum"
    yield (
        f"At its best rate ({sgd.settings['lr']:.2g}) plain SGD is *faster* than Adam at its own "
        f"({adam.settings['lr']:.2g}), and so is momentum"
    )
    early = {name: contestant(untuned, name) for name in ("adam", "momentum", "sgd")}
    assert early["sgd"].epochs_to_target.reached == 0
    times = [" ".join(interval(early[n].epochs_to_target.mean)) for n in ("adam", "momentum")]
    yield (
        f"it reaches 95 % in {times[0].replace(' [', ' epochs [')}, momentum in {times[1]}, and "
        "SGD not within five"
    )
    finals = [per_cent(one.metric) for one in early.values()]
    yield f"Final accuracies are {finals[0]}, {finals[1]} and {finals[2]}"
    factors = [one.width.high / one.width.low for one in (adam, sgd)]
    yield f"good learning rates span a factor of {factors[0]:.0f} for Adam and of {factors[1]:.0f}"
    assert pair(tuned, "adam", "momentum", "lr_width").better is None
    yield f"Between Adam and momentum ({momentum.width.decades.value:.2f} decades)"
    assert adam.width.low < 0.001 < adam.width.high
    yield (
        f"is a factor of {sgd.width.low / 0.001:.0f} below the start of its range, "
        f"{sgd.width.low:.2g}"
    )
    final = pair(tuned, "adam", "momentum", "metric")
    yield (
        f"a difference of less than {100 * final.detectable:.1f} points would often go unnoticed, "
        f"and the observed one is {-100 * final.difference.value:.2f}"
    )


def of_paper(records):
    logistic = records.study("paper-logistic")
    assert paper.ranked(logistic, 20) == ["adam", "nesterov", "rmsprop", "adagrad"]
    p = {(each.first, each.second): each.p for each in paper.pairs(logistic, 20)}
    assert p["adam", "nesterov"] < 0.05 < p["nesterov", "rmsprop"]
    first = {one.name: fmean(paper.costs(logistic, one.name, 1)) for one in logistic.contestants}
    assert max(first, key=first.get) == "nesterov"
    yield f"because its best learning rate is {contestant(logistic, 'nesterov').settings['lr']:.2g}"
    dropout = records.study("paper-dropout")
    epochs = dropout.plan["epochs"]
    assert paper.ranked(dropout, epochs) == ["nesterov", "adam", "rmsprop", "adagrad"]
    p = {(each.first, each.second): each.p for each in paper.pairs(dropout, epochs)}
    assert p["adam", "nesterov"] > 0.05 > max(p["adam", "rmsprop"], p["adam", "adagrad"])
    yield f"{epochs} epochs are {100 * epochs / 200:.1f} % of the paper's"


def of_lr_find(records):
    found = records["lr-find"]
    rates = {
        workload: {
            case: [each["suggestion"] for each in searches] for case, searches in cases.items()
        }
        for workload, cases in found["searches"].items()
    }
    truth = {
        workload: {case: lr_find.truth_of(found, workload, case) for case in cases}
        for workload, cases in rates.items()
    }
    good = {
        workload: [lr_find.inside(truth[workload][case], all_) for case, all_ in cases.items()]
        for workload, cases in rates.items()
    }
    assert good["mnist"] == [20, 20, 20]
    assert good["digits"] == [0, 20, 0]
    yield f"all {sum(good['mnist'])} suggestions are within half a point of the best accuracy"
    assert lr_find.WITHIN == 0.005
    yield "at most 0.5 points below"
    steps = [each["steps_taken"] for cases in found["searches"]["mnist"].values() for each in cases]
    yield f"A search took {min(steps):,} to {max(steps):,} steps"
    yield f"a training of {found['epochs']['mnist']} epochs is 4,690 steps"
    yield f"{100 / 360:.2f} points each; {found['epochs']['digits']} epochs, three seeds"
    below = []
    for case in ("adam", "momentum"):
        ends = [fmean(runs) for _, runs in found["ends"]["digits"][case]]
        assert max(rates["digits"][case]) < truth["digits"][case].low
        below.append(100 * (truth["digits"][case].accuracy - min(ends)))
    yield f"the accuracy is {below[0]:.1f} and {below[1]:.1f} points below the best"
    of_rule = {
        length: [
            [each["steepest, symmetric"] for each in sweeps[length]]
            for sweeps in found["sweeps"].values()
        ]
        for length in ("200", "400")
    }
    hits = {
        length: [
            lr_find.inside(truth["mnist"][case], all_)
            for case, all_ in zip(rates["mnist"], by_case, strict=True)
        ]
        for length, by_case in of_rule.items()
    }
    assert hits["200"] == [30, 30, 30] > hits["400"]
    times = [
        median(long) / median(short)
        for short, long in zip(of_rule["200"], of_rule["400"], strict=True)
    ]
    yield f"takes it to {times[0]:.2f}, {times[1]:.2f} and {times[2]:.2f} times where it was"
    for case, by_steps in found["lengths"].items():
        short = [by_steps[steps]["suggestion"] for steps in ("25", "50", "100")]
        assert lr_find.inside(truth["mnist"][case], short) == 3
    assert not lr_find.inside(truth["mnist"]["sgd"], [found["lengths"]["sgd"]["200"]["suggestion"]])
    yield "the smallest one within 5 % of the best progress"


def of_statistics(records):
    found = records["equals"]
    assert not any(found["wrong"]["width"])
    yield f"were called different in none of {found['studies']} simulated studies"
    deviation = 100 * (0.05 * 0.95 / found["studies"]) ** 0.5
    assert round(deviation) == 1
    yield f"With {found['studies']} studies, a share of 5 % may come out one point higher or lower"
    share = 100 * found["right"] / found["power_studies"]
    yield f"was found in {share:.1f} % of {found['power_studies']:,} studies"
    yield f"theory predicts {100 * equals.theory():.1f} %"
    deviation = 100 * (2 * LEVEL * (1 - LEVEL) / EXAMPLES) ** 0.5
    yield f"on the same seed differ by {deviation:.1f} points (one deviation)"
    assert decisions.SPREAD == 0.01
    yield "all true accuracies are drawn (deviation 1 point)"
    found = records["decisions"]
    beyond = max(row["beyond"] for row in found["rows"]) / found["studies"]
    assert beyond < 0.05
    yield f"worse by more than was said in at most {100 * beyond:.1f} % of them"
    margins = {(row["gap"], row["seeds"]): row["margin"] for row in found["rows"]}
    times = [margins[gap, 3] / margins[gap, 10] for gap in (*decisions.GAPS, None)]
    words = {2: "two", 3: "three", 7: "seven", 8: "eight"}
    yield f"their margin is {words[int(min(times))]} to {words[int(max(times))]} times that of ten"


def of_workloads(records):
    shares = {part: f"{100 * share:.0f} %" for part, share in records["words"]["unknown"].items()}
    yield (
        f"({shares['training']} of the words to predict in training, {shares['validation']} in "
        f"validation, {shares['test']} in the test)"
    )


def of_tune(records):
    rows = records["pruning"]["rows"]
    assert len({row["repeat"] for row in rows}) == 5
    yield f"five times {records['pruning']['trials']} trials"
    yield f"on 144 validation examples of {100 / 144:.1f} points each"
    by_rule = {}
    for row in rows:
        by_rule.setdefault((row["reduction_factor"], row["rung_spacing"], row["floor"]), []).append(
            row
        )
    lost, trained, found = (
        {rule: combine(row[key] for row in of) for rule, of in by_rule.items()}
        for key, combine in (("lost", max), ("trained_tpe", fmean), ("found", fmean))
    )
    in_use, late, spread, four, two = by_rule
    assert min(lost[spread], lost[four]) > 5 * lost[in_use]
    assert min(trained[late], trained[two]) > trained[in_use]
    apart = 100 * (max(found.values()) - min(found.values()))
    yield f"differs by at most {apart:.1f} points on average"
    rows = records["samplers"]["rows"]
    repeats = {row["repeat"] for row in rows}
    assert len(repeats) == 5
    yield f"{records['samplers']['trials']} trials over Adam's own space"
    defaults = fmean(next(row["defaults"] for row in rows if row["repeat"] == n) for n in repeats)
    yield f"at the defaults, whose accuracy is {100 * defaults:.1f} % here on average"
    kinds = {
        (sampler, pruning): [
            row["found"] for row in rows if (row["sampler"], row["pruning"]) == (sampler, pruning)
        ]
        for sampler in SAMPLERS
        for pruning in (False, True)
    }
    assert kinds["gp", True] == kinds["cmaes", True] == kinds["random", True]
    alike = [fmean(kinds[sampler, False]) for sampler in ("tpe", "gp", "cmaes")]
    assert max(alike) - min(alike) < 0.002 < min(alike) - fmean(kinds["random", False])
    rows = [searches.Row(**row) for row in records["searches"]["rows"]]
    assert len(rows) == 2
    assert all(fmean(row.found) >= fmean(row.plain) for row in rows)
    yield (
        "In two searches, it finds settings at least as good as those of random search, in "
        f"{100 * fmean(row.all_steps for row in rows):.0f} % of the steps"
    )
    yield f"on the same {records['searches']['seeds']} fresh seeds"
    defaults = {f"{100 * fmean(row.defaults):.1f}" for row in rows}
    yield f"The gain over the defaults ({' to '.join(sorted(defaults))} % here"
    words = {1: "one", 2: "two"}
    yield f"in {words[sum(row.recommended for row in rows)]} of the two searches the settings were"


def of_which(records):
    names = "images", "characters", "words", "finetune"
    images, characters, words, finetune = (records.study(f"which-{name}") for name in names)
    muon, soap, third = which.ranked(characters)[:3]
    assert (muon.name, soap.spec.partition(":")[0]) == ("muon", "soap")
    first, second, best_of_others = (
        f"{100 * one.metric.value:.1f} %" for one in (muon, soap, third)
    )
    yield (
        f"Muon and SOAP predict {first} and {second} of characters, the best of all others "
        f"{best_of_others}, after as many steps"
    )
    kept = [f"{one.state_bytes / one.parameters:.2g}" for one in (muon, soap)]
    yield f"Muon keeps {kept[0]} bytes of state for each parameter, less than Adam's 8; SOAP keeps"
    yield f"SOAP keeps {kept[1]}."
    assert words.decision.contestant == "lamb"
    last = {one.spec.partition(":")[0] for one in which.ranked(words)[-3:]}
    assert last == {"muon", "momentum", "soap"}
    for study in (images, finetune):
        best = {one.spec.partition(":")[0] for one in which.ranked(study)[:2]}
        assert best == {"soap", "adamwschedulefree"}
        assert study.decision.contestant == "momentum"
    places = [
        [one.name for one in which.ranked(s)].index("adamw") for s in (words, images, finetune)
    ]
    assert places == [1, 7, 7]  # of nine, from 0
    adamw = contestant(characters, "adamw")
    assert round(100 * (muon.metric.value - adamw.metric.value)) == 9
    assert contestant(finetune, "muon").metric.value > contestant(finetune, "adamw").metric.value
    rates = [contestant(s, "prodigy").settings["lr"] for s in (finetune, words, characters)]
    assert rates[0] == 1
    yield (
        "A learning rate of 1, which is meant to do everywhere, is its best for fine-tuning; on "
        f"words it is {rates[1]:.3g} and on characters {rates[2]:.3g}."
    )
