"""Mutants of what a study says: its measures, its space, its data, its stops and its report."""

from __future__ import annotations

from mutation import of

MEASURES = [
    *of(
        "sweep/measures/score.py",
        "tests/measures/test_score.py",
        (
            "a variance of Q, not of Q - 1",
            "others = max(1, self.queries - 1)",
            "others = max(1, self.queries)",
            "without_weights_all_queries_count_the_same",
        ),
        (
            "a mean without the weights",
            "return values @ self._shares",
            "return np.asarray(np.mean(values, axis=1))",
            "weighted_means_and_their_covariance_are_those_of_a_loop_over_queries",
        ),
        (
            "weights that are not squared in the variance",
            "rest = rest * self._shares\n",
            "rest = rest * np.sqrt(self._shares / self.queries)\n",
            "weighted_means_and_their_covariance_are_those_of_a_loop_over_queries",
        ),
        (
            "degrees of freedom of all queries, however they weigh",
            "1.0 / float(np.sum(self._shares**2))) - 1.0",
            "self.queries) - 1.0",
            "few_heavy_queries_tell_no_more_than_as_many_equal_ones",
        ),
        (
            "an interval of 90 % for one of 95 %",
            "inv_cdf(0.5 + confidence / 2)",
            "inv_cdf(confidence)",
            "the_interval_of_a_paired_difference_is_that_of_scipy",
        ),
    ),
    *of(
        "sweep/measures/ranking.py",
        "tests/measures/test_measures.py",
        (
            "exponential gains",
            "return np.maximum(grades, 0.0) @",
            "return (2.0 ** np.maximum(grades, 0.0) - 1.0) @",
            "worked_examples",
        ),
        (
            "ties go to the later document",
            "np.flatnonzero(scores[row] >= threshold)",
            "np.flatnonzero(scores[row] >= threshold)[::-1]",
            "a_measure_of_graded_rankings_with_many_ties_is_that_of_trec_eval",
        ),
    ),
    *of(
        "sweep/measures/measures.py",
        "tests/measures/test_measures.py",
        (
            "an average precision over the places alone",
            "where=relevant) / count_relevant(judged)",
            "where=relevant) / np.minimum(count_relevant(judged), k)",
            "a_measure_of_a_ranking_is_that_of_trec_eval",
        ),
    ),
]

SETTINGS = [
    *of(
        "sweep/settings/space.py",
        "tests/settings/test_space.py",
        (
            "a start point may lie below its range",
            "bool(distribution.low <= value <= distribution.high)",
            "bool(value <= distribution.high)",
            "a_start_point_outside_its_range_is_refused",
        ),
        (
            "a trial that is older than a dimension has none of it",
            "in values else each.before",
            "in values else None",
            "what_an_older_trial_lacks_has_its_value_from_before_and_an_empty_one_stays_so",
        ),
        (
            "the rule scales the rate from batch 32",
            "REFERENCE_BATCH = 64",
            "REFERENCE_BATCH = 32",
            "the_rule_scales_the_rate_from_batch_64",
        ),
        (
            "the largest rate holds before the rule",
            "params.effective_learning_rate <= limit",
            "params.learning_rate <= limit",
            "a_point_above_the_largest_rate_is_not_tried",
        ),
    ),
    *of(
        "sweep/settings/ranges.py",
        "tests/settings/test_space.py",
        (
            "a range of batches begins below its low end",
            "range(math.ceil(math.log2(self.low))",
            "range(math.floor(math.log2(self.low))",
            "the_batches_of_a_range_are_its_powers_of_two",
        ),
    ),
]

DATA = [
    *of(
        "sweep/progress.py",
        "tests/test_progress.py",
        (
            "an evaluation is stored under the first point it reaches",
            "{-(-point * steps // COMPLETE): point for point in grid}",
            "{-(-point * steps // COMPLETE): point for point in reversed(grid)}",
            "points_that_one_step_reaches_are_measured_once_under_the_last_of_them",
        ),
        (
            "an evaluation comes a step early",
            "{-(-point * steps // COMPLETE): point",
            "{max(1, point * steps // COMPLETE): point",
            "points_that_one_step_reaches_are_measured_once_under_the_last_of_them",
        ),
        (
            "a warm-up of a rounding error is a step",
            "ROUNDING = 1e-9",
            "ROUNDING = 0.0",
            "a_step_that_is_a_floats_rounding_error_is_no_step_of_the_warmup",
        ),
        (
            "a value is carried backward",
            "bisect.bisect_right(curve, progress",
            "bisect.bisect_left(curve, progress",
            "a_value_is_carried_forward",
        ),
    ),
    *of(
        "sweep/data/split.py",
        "tests/data/test_split.py",
        (
            "twins of a judged document are trained on",
            "frozenset(judged | twins)",
            "frozenset(judged)",
            "equal_texts_under_two_ids_stay_together_and_are_held_out",
        ),
        (
            "queries of one text fall into two splits",
            '[("query text", queries[query])] if queries[query].strip() else []',
            "[]",
            "queries_of_equal_text_stay_together",
        ),
        (
            "a split does not depend on its seed",
            "np.random.default_rng(seed).permutation(len(sizes))",
            "np.random.default_rng(0).permutation(len(sizes))",
            "shares_are_those_of_the_judged_documents_where_every_query_has_its_own",
        ),
    ),
    *of(
        "sweep/data/order.py",
        "tests/data/test_order.py",
        (
            "a pass repeats the shuffle of the one before",
            "return rows[np.random.default_rng([self._seed, number])",
            "return rows[np.random.default_rng([self._seed])",
            "passes_are_shuffled_anew",
        ),
        (
            "a text stands twice in a batch",
            "if batch not in map(used.get, row):",
            "if batch != used.get(row[0]):",
            "no_batch_holds_a_text_twice_in_any_column",
        ),
    ),
    *of(
        "sweep/data/near_texts.py",
        "tests/data/test_negatives.py",
        (
            "texts of seven words in ten are nearly equal",
            "NEAR = 0.8",
            "NEAR = 0.7",
            "four_words_of_five_are_near_and_three_of_four_are_not",
        ),
        (
            "texts of just the share are not nearly equal",
            "common >= share *",
            "common > share *",
            "four_words_of_five_are_near_and_three_of_four_are_not",
        ),
    ),
    *of(
        "sweep/data/formats/format.py",
        "tests/data/formats/test_format.py",
        (
            "columns come in the order of their names",
            "return tuple(column for role in wanted for column, given in roles.items() if given == role)",
            "return tuple(column for column, given in sorted(roles.items()) if given in wanted)",
            "columns_come_in_the_order_of_the_roles_that_are_wanted_and_then_in_their_own",
        ),
    ),
    *of(
        "sweep/data/formats/format.py",
        "tests/data/test_validation.py",
        (
            "negatives have the prompt of queries",
            '"negative": "document"',
            '"negative": "query"',
            "negatives_have_the_prompt_of_documents",
        ),
    ),
    *of(
        "sweep/data/validation.py",
        "tests/data/test_validation.py",
        (
            "pairs that are trained on are held out too",
            "if texts not in trained]",
            "if texts]",
            "where_all_pairs_of_the_dev_split_are_trained_on_none_is_held_out",
        ),
    ),
]

STOPPING = [
    *of(
        "sweep/stopping/forecast.py",
        "tests/stopping/test_forecast.py",
        (
            "a forecast allows for less wander",
            "WANDER = 0.5",
            "WANDER = 0.4",
            "noise_raises_the_gain_of_now_and_half_of_it_may_wander",
        ),
        (
            "a gain is taken over two looks",
            "MIN_LOOKS = 3",
            "MIN_LOOKS = 2",
            "the_gain_of_now_is_taken_over_three_measurements_at_least_however_far_apart_they_are",
        ),
        (
            "a gain is taken over a longer window",
            "WINDOW = 0.25",
            "WINDOW = 0.35",
            "the_gain_of_now_is_that_over_the_last_quarter_of_the_spent_rate",
        ),
        (
            "the first steps count as fast as they were",
            "SHORTEST = 0.1",
            "SHORTEST = 0.05",
            "the_fastest_gain_so_far_may_come_again",
        ),
        (
            "a forecast forgets the margin",
            "needed=float(means[peak]) + self.margin",
            "needed=float(means[peak])",
            "the_gain_of_now_is_that_over_the_last_quarter_of_the_spent_rate",
        ),
        (
            "a forecast ignores the fastest gain",
            "error / width, _fastest_gain(means, spent))",
            "error / width)",
            "the_fastest_gain_so_far_may_come_again",
        ),
        (
            "a forecast can stop within the grace",
            "progress[-1] >= not_before + self.grace)",
            "progress[-1] >= not_before)",
            "warmup_and_grace_cannot_stop",
        ),
    ),
    *of(
        "sweep/stopping/rules.py",
        "tests/stopping/test_rules.py",
        (
            "alpha is spent along progress itself",
            "due = [math.sqrt(",
            "due = [float(",
            "the_numbers_of_a_small_run_are_those_on_paper",
        ),
        (
            "comparisons are not counted",
            "self.alpha * share / comparisons))",
            "self.alpha * share))",
            "looks_that_tell_the_same_ask_for_less_than_looks_that_differ",
        ),
        (
            "the margin is not taken off a fall",
            "_divide(differences - self.margin, errors)",
            "_divide(differences, errors)",
            "the_numbers_are_those_of_the_strongest_paired_test",
        ),
        (
            "a normal quantile in place of Student's",
            "float(-stdtrit(freedom, self.alpha",
            "float(-stdtrit(10**6, self.alpha",
            "the_numbers_of_a_small_run_are_those_on_paper",
        ),
        (
            "a drop-off can stop within the grace",
            "can_stop=bool(progress[-1] >= not_before + self.grace)",
            "can_stop=bool(progress[-1] >= not_before)",
            "warmup_and_grace_set_the_peak_but_do_not_stop",
        ),
    ),
    *of(
        "sweep/stopping/policy.py",
        "tests/stopping/test_policy.py",
        (
            "the run that leads is given up on a forecast",
            "recovery.cannot_recover and not look.leads(incumbent):",
            "recovery.cannot_recover:",
            "the_run_that_leads_is_not_given_up_on_a_forecast_alone",
        ),
        (
            "a run level with the best leads",
            "self.peak > incumbent",
            "self.peak >= incumbent",
            "a_run_that_is_level_with_the_best_does_not_lead",
        ),
        (
            "a run that may come back is stopped",
            "fall.fallen and (recovery.cannot_recover or not self.forecast):",
            "fall.fallen:",
            "a_run_that_has_fallen_goes_on_while_it_may_come_back",
        ),
        (
            "a run that diverges at its end is whole",
            "if not look.is_finite:\n            where",
            "if not look.is_finite and look.progress < COMPLETE:\n            where",
            "a_run_that_is_not_finite_is_stopped_at_once",
        ),
    ),
    *of(
        "sweep/stopping/rungs.py",
        "tests/stopping/test_rungs.py",
        (
            "one trial is enough to go on",
            "FEWEST = 3",
            "FEWEST = 1",
            "of_three_trials_nobody_stays_behind",
        ),
        (
            "the leading one is left paused",
            "rank <= quota or is_undecided or each.is_leading",
            "rank <= quota or is_undecided",
            "the_leading_one_goes_on_whatever_its_rank",
        ),
        (
            "a dip goes on at its pace",
            "carry_on(1.0, self.spent) if self.score.mean > 0.0 else 1.0",
            "carry_on(1.0, self.spent)",
            "a_trial_that_has_spent_less_is_taken_to_gain_on_at_its_pace",
        ),
    ),
    *of(
        "sweep/stopping/halving.py",
        "tests/stopping/test_halving.py",
        (
            "the best go on last",
            "going = sorted(kept, key=lambda place: ranks[place].rank)",
            "going = kept",
            "all_runs_are_begun_then_the_best_go_on_the_best_first",
        ),
    ),
    *of(
        "sweep/stopping/doubling.py",
        "tests/stopping/test_doubling.py",
        (
            "a doubling that cannot be told has paid",
            "None if low <= 0.0 <= high else low > 0.0",
            "high > 0.0",
            "a_doubling_has_paid_or_has_not_where_the_interval_tells",
        ),
        (
            "lengths are planned beyond the total",
            "if left < 0.0:\n            return",
            "if left < -1000.0:\n            return",
            "lengths_double_for_as_long_as_a_trial_fits",
        ),
    ),
    *of(
        "sweep/stopping/replay.py",
        "tests/stopping/test_replay.py",
        (
            "the incumbent is the run before",
            "else max(incumbent, peak)",
            "else peak",
            "the_incumbent_is_the_best_of_all_runs_before_and_not_the_last_of_them",
        ),
    ),
]

REPORT = [
    *of(
        "sweep/recommendation.py",
        "tests/report/test_answer.py",
        (
            "a model that is worse beyond doubt is not told apart",
            "return self.low > 0 or self.high < 0",
            "return self.high < 0",
            "the_best_trial_is_to_be_used_and_is_compared_with_the_untrained_model_and_the_default",
        ),
        (
            "a gain is that of the other model",
            "gain = values.minus(others)",
            "gain = others.minus(values)",
            "the_best_trial_is_to_be_used_and_is_compared_with_the_untrained_model_and_the_default",
        ),
    ),
    *of(
        "sweep/report/diagnosis/surface.py",
        "tests/report/test_statistics.py",
        (
            "a Gibbs chain of one sweep",
            "SWEEPS = 8000, 8, 20",
            "SWEEPS = 8000, 8, 1",
            "stopped_runs_that_hang_together_are_drawn_from_a_chain_that_has_mixed",
        ),
        (
            "no sharing between formats",
            "shared = 0.5 + 0.5 * equal(",
            "shared = equal(",
            "a_format_of_few_runs_borrows_from_the_other",
        ),
        (
            "bounds of one column at a time",
            "level = np.sort(ranks.min(axis=1))",
            "level = np.sort(ranks[:, 0])",
            "bounds_of_all_causes_are_wider_than_of_one_alone",
        ),
        (
            "runs of the same noise",
            "np.linalg.inv(prior.covariance(settings, settings, rest=rest) + np.diag((factor * outcomes.noise) ** 2))",
            "np.linalg.inv(prior.covariance(settings, settings, rest=rest) + 0.004**2 * np.eye(len(settings)))",
            "a_run_of_more_noise_says_less",
        ),
    ),
    *of(
        "sweep/report/diagnosis/effects.py",
        "tests/report/test_statistics.py",
        (
            "draws that are not shuffled",
            "return draws[np.random.default_rng(seed).permutation(len(draws))]",
            "return draws",
            "the_draws_of_two_outcomes_are_joined_without_the_order_of_their_noise",
        ),
        (
            "a stopped run taken for a whole one",
            "stopped=np.array([each.is_stopped for each in reached])",
            "stopped=np.zeros(len(reached), dtype=bool)",
            "a_fall_that_was_stopped_is_not_taken_for_the_last_word",
        ),
    ),
    *of(
        "sweep/report/diagnosis/surface.py",
        "tests/report/test_surface.py",
        (
            "the sign of an effect",
            "(1.0, -1.0)[index % 2]",
            "(-1.0, 1.0)[index % 2]",
            "two_runs_that_differ_far_beyond_their_noise_tell_the_effect",
        ),
    ),
    *of(
        "sweep/report/diagnosis/run_outcomes.py",
        "tests/report/test_run_outcomes.py",
        (
            "the last value wherever runs are compared",
            "end = 0 if last is None else int(last)",
            "end = len(values) - 1 if last is not None else 0",
            "what_is_measured_between_two_points_is_carried_forward_to_the_second",
        ),
    ),
    *of(
        "sweep/report/diagnosis/advice.py",
        "tests/report/test_diagnosis.py",
        (
            "advice against the best runs",
            "if not beyond:",
            "if beyond is not None:",
            "no_end_is_moved_past_a_run_that_cannot_be_told_from_the_best",
        ),
    ),
]
