"""Mutants of what runs a study: how trials are placed, recovered, kept, stored and trained."""

from __future__ import annotations

from mutation import of

COORDINATOR = [
    *of(
        "sweep/coordinator/proposals.py",
        "tests/coordinator/test_proposals.py",
        (
            "the sampler is shown the peak of a diverged trial",
            "        return baseline\n",
            "        return trial.peak.value if trial.peak else baseline\n",
            "the_sampler_sees_every_trial_at_its_peak",
        ),
        (
            "all proposals have the study's seed",
            "[self._seed, number, attempt]",
            "[self._seed, attempt]",
            "each_trial_has_draws_of_its_own_even_where_none_is_known_yet",
        ),
        (
            "start points are tried again after a restart",
            "self._starts.remove(done)",
            "self._starts.rotate()",
            "start_points_come_once_whatever_is_restarted",
        ),
        (
            "half of a budget is tried at random",
            "max(4, trials // 5)",
            "max(4, trials // 2)",
            "the_first_trials_are_random_and_the_next_ones_learn",
        ),
    ),
    *of(
        "sweep/coordinator/placement.py",
        "tests/coordinator/test_placement.py",
        (
            "more memory may stay in use",
            "SLACK_GIB = 0.25",
            "SLACK_GIB = 0.3",
            "a_quarter_of_a_gib_may_stay_in_use_on_a_device_that_is_free_again",
        ),
        (
            "trials share a device with less room to spare",
            "HEADROOM = 1.15",
            "HEADROOM = 1.1",
            "a_trial_joins_others_where_what_its_like_has_used_fits",
        ),
        (
            "what others hold of a device is forgotten",
            "used_gib + HEADROOM * sum(known)",
            "HEADROOM * sum(known)",
            "a_trial_joins_others_where_what_its_like_has_used_fits",
        ),
        (
            "a trial needs what the largest has used",
            "default=min(larger, default=None)",
            "default=max(larger, default=None)",
            "what_a_trial_needs_is_what_its_like_or_a_larger_one_has_used",
        ),
    ),
    *of(
        "sweep/clock.py",
        "tests/coordinator/test_failure_recovery.py",
        (
            "a minute of the coordinator's sleep is silence of its trials",
            "MAX_AWAKE_S = 5.0",
            "MAX_AWAKE_S = 60.0",
            "time_in_which_the_coordinator_itself_was_stopped_is_no_silence_of_its_trials",
        ),
    ),
    *of(
        "sweep/coordinator/failure_recovery.py",
        "tests/coordinator/test_failure_recovery.py",
        (
            "two failures in a row end a study",
            "MAX_FAILURES = 3",
            "MAX_FAILURES = 2",
            "what_failures_end_a_study",
        ),
        (
            "failures of any cause end a study",
            "in_a_row = len(last) == MAX_FAILURES and len({cause for _, cause in last}) == 1",
            "in_a_row = len(last) == MAX_FAILURES",
            "what_failures_end_a_study",
        ),
    ),
    *of(
        "sweep/coordinator/failure_recovery.py",
        "tests/coordinator/test_studies.py",
        (
            "a trial fails at its fourth death",
            "MAX_WITHOUT_PROGRESS = 3",
            "MAX_WITHOUT_PROGRESS = 4",
            "a_trial_that_dies_three_times_without_progress_fails_and_counts",
        ),
    ),
    *of(
        "sweep/coordinator/running.py",
        "tests/coordinator/test_running.py",
        (
            "a death at the same step is progress",
            "has_progressed = mark > self.mark",
            "has_progressed = mark >= self.mark",
            "a_process_that_gets_no_further_than_the_one_before_made_no_progress",
        ),
        (
            "deaths of a coordinator that a trial is not suspected of break no row",
            "before + 1 if is_suspect else 0",
            "before + is_suspect",
            "deaths_of_a_coordinator_count_in_a_row_where_a_trial_is_suspect_and_gets_no_further",
        ),
        (
            "the peak of a running trial is the last of equals",
            "value > self.peak.",
            "value >= self.peak.",
            "the_peak_is_the_earliest_of_the_highest_measurements_after_the_untrained_one",
        ),
    ),
    *of(
        "sweep/coordinator/checkpoint_pruning.py",
        "tests/coordinator/test_checkpoint_pruning.py",
        (
            "models are kept one byte beyond the limit",
            "taken > room:",
            "taken >= room:",
            "the_best_models_are_kept_as_far_as_there_is_room",
        ),
        (
            "the model of a diverged trial is kept",
            'and not (trial.stop and trial.stop.kind == "diverged")',
            "and True",
            "models_rank_by_their_peaks_behind_the_studys_best_and_diverged_ones_not_at_all",
        ),
        (
            "models rank by their peaks alone",
            "return [*([best] if best is not None else []), *",
            "return [*",
            "models_rank_by_their_peaks_behind_the_studys_best_and_diverged_ones_not_at_all",
        ),
    ),
    *of(
        "sweep/coordinator/checkpoint_pruning.py",
        "tests/coordinator/test_studies.py",
        (
            "the default's model is deleted",
            "kept.add(default.number)",
            "kept.discard(default.number)",
            "the_model_of_the_first_start_point_is_kept_and_judged_beside_the_best",
        ),
    ),
    *of(
        "sweep/coordinator/budget.py",
        "tests/coordinator/test_budget.py",
        (
            "each trial's device is counted, also where they share one",
            "places = {trial.slot.place for trial in running if trial.slot}",
            "places = [trial.slot.place for trial in running if trial.slot]",
            "device_hours_are_those_of_devices_however_many_trials_share_one",
        ),
        (
            "a machine's sleep is spent",
            "passed = min(max(0.0, now - self._last), MAX_AWAKE_S)",
            "passed = max(0.0, now - self._last)",
            "time_in_which_the_machine_slept_is_not_spent_and_a_later_run_goes_on_counting",
        ),
        (
            "a target is reached beyond it alone",
            "usage.best >= budget.target",
            "usage.best > budget.target",
            "the_part_of_a_budget_that_ends_a_study",
        ),
    ),
    *of(
        "sweep/coordinator/lengthening.py",
        "tests/coordinator/test_lengthening.py",
        (
            "longer trials are begun that do not fit beside each other",
            "room = room.without(examples=longer.examples, seconds=longer.seconds)",
            "pass",
            "hours_are_a_total_as_well_where_doublings_are_asked_for",
        ),
        (
            "a configuration is trained for longer twice",
            "for trial in ranked[:WIDTH] if trial.number not in begun",
            "for trial in ranked[:WIDTH]",
            "where_a_doubling_is_not_proved_to_pay_the_next_best_is_trained_longer_as_well",
        ),
    ),
    *of(
        "sweep/coordinator/events.py",
        "tests/coordinator/test_events.py",
        (
            "the time left forgets those that run",
            "left += to_begin * usual + sum(max(0.0, usual - done[trial.number]) for trial in searching)",
            "left += to_begin * usual",
            "the_time_left_follows_the_pace_and_the_usual_length_of_trials_and_the_slots",
        ),
        (
            "the time left takes all trials for whole ones",
            "usual = sum(ended) / len(ended) if ended else 1.0",
            "usual = 1.0",
            "the_time_left_follows_the_pace_and_the_usual_length_of_trials_and_the_slots",
        ),
        (
            "the time left takes one trial after the other",
            "max(1, min(slots, to_begin + len(running)))",
            "1",
            "the_time_left_follows_the_pace_and_the_usual_length_of_trials_and_the_slots",
        ),
    ),
    *of(
        "sweep/coordinator/trial_completion.py",
        "tests/coordinator/test_trial_completion.py",
        (
            "a stopped trial level with the best is complete",
            "peak.value > best_peak",
            "peak.value >= best_peak",
            "how_a_trial_is_recorded",
        ),
    ),
]

STORAGE = [
    *of(
        "sweep/storage/records.py",
        "tests/storage/test_records.py",
        (
            "retention forgets the untrained model",
            "highest = max(highest, baseline if baseline is not None else highest)",
            "highest = max(highest, 0.0)",
            "what_is_left_of_a_peak_counts_the_untrained_model_as_one",
        ),
        (
            "of two best trials the later one is the best",
            "(trial.value, -trial.number)",
            "(trial.value, trial.number)",
            "of_equal_trials_the_earlier_is_the_best_and_stands_higher",
        ),
        (
            "the peak is the last of equals",
            "(row.value, -row.progress)",
            "(row.value, row.progress)",
            "of_equal_peaks_the_earliest_is_the_peak",
        ),
        (
            "what the end of a study cut off is saved",
            'and not (trial.stop and trial.stop.kind == "study ended")',
            "and True",
            "saved_is_what_stopped_trials_left_of_what_all_that_ended_would_have_seen",
        ),
    ),
    *of(
        "sweep/storage/evaluations.py",
        "tests/storage/test_evaluations.py",
        (
            "the untrained model is a trial",
            "EVALUATIONS.c.trial >= 0)",
            "EVALUATIONS.c.trial >= UNTRAINED)",
            "judgements_are_no_rows_of_trials",
        ),
    ),
    *of(
        "sweep/storage/retry.py",
        "tests/storage/test_retry.py",
        (
            "a write that may stand is made again as it was",
            "        call = again or call\n",
            "        continue\n",
            "a_write_that_may_stand_already_is_made_again_in_another_way",
        ),
    ),
]

PROCESSES = [
    *of(
        "sweep/launch/rank_processes.py",
        "tests/contracts/test_launchers.py",
        (
            "a process that was killed has exited",
            "if code is not None and code < 0:",
            "if code is not None and code < -9:",
            "a_signal_that_ends_a_process_is_the_reason_of_its_death",
        ),
        (
            "a process that does not go is waited for",
            "if not rank.is_gone and now >= rank.kill_at:",
            "if not rank.is_gone and now >= rank.kill_at + 600.0:",
            "a_process_that_does_not_go_after_its_last_word_is_killed_and_its_word_counts",
        ),
    ),
    *of(
        "sweep/launch/rank_processes.py",
        "tests/contracts/test_rank_launches.py",
        (
            "the first rank's failure is the reason, whatever lies behind it",
            "final = min(self.ranks, key=_order).final",
            "final = self.first.final",
            "memory_that_one_rank_has_exhausted_is_the_reason_of_all",
        ),
        (
            "ranks are left waiting for one that is gone",
            "peer.hurry(PEERS_S)",
            "peer.hurry(600.0)",
            "a_rank_that_is_killed_ends_peers_that_notice_nothing",
        ),
    ),
    *of(
        "sweep/training/ranks.py",
        "tests/training/test_ranks.py",
        (
            "a rank's loss is taken for that of the batch",
            "return total / self.count",
            "return value",
            "gradient_loss_and_weights_are_those_of_one_process",
        ),
    ),
    *of(
        "sweep/training/losses/multiple_negatives_ranking.py",
        "tests/training/test_ranks.py",
        (
            "each rank has the negatives of its own share",
            "model, scale=self.scale, similarity_fct=compare, gather_across_devices=gather",
            "model, scale=self.scale, similarity_fct=compare, gather_across_devices=False",
            "gradient_loss_and_weights_are_those_of_one_process",
        ),
    ),
    *of(
        "sweep/job_process.py",
        "tests/test_job_process.py",
        (
            "a disk that fails in Rust is the trial's fault",
            'return known or any(f"(os error {number})" in str(error) for number in _DISK_ERRORS)',
            "return known",
            "a_disk_that_fails_a_library_in_rust_is_known_by_its_words",
        ),
        (
            "a full disk beneath another error is the trial's fault",
            "error = error.__cause__ or error.__context__",
            "error = error.__cause__",
            "a_full_disk_is_known_beneath_other_errors",
        ),
    ),
    *of(
        "sweep/guard.py",
        "tests/test_guard.py",
        (
            "a page of another site may change notes",
            'if environ.get("HTTP_ORIGIN", f"http://{host}") != f"http://{host}":',
            'if environ.get("HTTP_ORIGIN") == "null":',
            "a_page_of_another_site_changes_nothing",
        ),
        (
            "the dashboard answers to any name",
            'if host.rsplit(":", 1)[0] not in NAMES:',
            "if not host:",
            "any_other_name_is_refused",
        ),
    ),
]

TRAINING = [
    *of(
        "sweep/training/checkpoint.py",
        "tests/training/test_checkpoint.py",
        (
            "a checkpoint counts whatever its files hold",
            "if _describe(folder / name, sign) != expected:",
            "if not (folder / name).exists():",
            "a_folder_does_not_count_with",
        ),
        (
            "a manifest may name files outside of its folder",
            'if Path(name).is_absolute() or ".." in Path(name).parts:',
            "if Path(name).is_absolute():",
            "a_folder_does_not_count_with",
        ),
        (
            "the oldest checkpoint is taken",
            "for folder in reversed(list(folders)):",
            "for folder in list(folders):",
            "the_last_whole_folder_is_the_newest",
        ),
    ),
    *of(
        "sweep/training/fit.py",
        "tests/training/test_resume.py",
        (
            "the loss before an interruption is forgotten",
            'self._loss_steps = stats["loss_steps"]',
            "self._loss_steps = 0",
            "the_loss_since_it_was_last_taken_outlives_an_interruption",
        ),
    ),
    *of(
        "sweep/training/fit.py",
        "tests/training/test_fit.py::TestOrder",
        (
            "a resumed run begins its order anew",
            "resume_from_checkpoint=str(resume_from) if resume_from else None",
            "resume_from_checkpoint=None",
            "a_resumed_run_is_fed_what_was_left_of_the_plan",
        ),
    ),
    *of(
        "sweep/trial.py",
        "tests/test_trial.py::TestPeak",
        (
            "a resumed trial keeps what is below its peak",
            "self.peak = task.peak\n",
            "self.peak = None\n",
            "only_what_beats_the_committed_peak_is_kept",
        ),
        (
            "what is measured again is taken for a peak",
            "is_new_peak = is_higher and progress > task.measured",
            "is_new_peak = is_higher",
            "what_is_measured_again_is_no_peak",
        ),
    ),
    *of(
        "sweep/training/checkpoint_schedule.py",
        "tests/training/test_checkpoint_schedule.py",
        (
            "what a checkpoint took is forgotten",
            "self.cost_s, self._since = seconds, self.clock()",
            "self._since = self.clock()",
            "the_next_interval_begins_after_a_checkpoint_and_follows_what_it_took",
        ),
        (
            "a dear checkpoint is written as often as a cheap one",
            "max(best_s, MIN_INTERVAL * self.cost_s)",
            "best_s",
            "checkpoints_take_no_more_than_five_percent_of_a_long_trial",
        ),
    ),
]
