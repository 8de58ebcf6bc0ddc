"""What the suite holds: fault by store, and the tests that hold it. `make torture` runs them."""

CHAOS = "tests/robustness/chaos/"
FAULTS = "tests/robustness/faults/"
HERE = "tests/robustness/torture/"

# Scenario: what is done, the tests on SQLite, the tests on Redis; None: it cannot happen there.
Tests = tuple[str, ...] | None

TABLE: dict[str, tuple[str, Tests, Tests]] = {
    "T01": (
        "workers are killed -9 at random, 120 times",
        (f"{CHAOS}test_kill_storm.py::test_120_kills_lose_no_job",),
        (
            f"{HERE}test_storm.py::test_120_kills_lose_no_job",
            f"{HERE}test_mixed.py::test_kills_in_a_fleet_with_node_lose_no_job",
        ),
    ),
    "T01b": (
        "the reply to a call is lost",
        None,
        (
            f"{FAULTS}test_once.py::test_a_verb_is_carried_out_once_though",
            f"{HERE}test_ownership.py::test_an_add_whose_reply_was_lost_is_done_once",
        ),
    ),
    "T01c": (
        "workers die at each point of a job's life, whatever its kind",
        (f"{HERE}test_hooks.py::test_a_worker_that_dies_at_any_point_of_a_job_costs_nothing",),
        (f"{HERE}test_hooks.py::test_a_worker_that_dies_at_any_point_of_a_job_costs_nothing",),
    ),
    "T01d": (
        "producers are killed -9 while they add",
        (
            f"{CHAOS}test_kill_producer.py"
            "::test_what_a_killed_producer_was_told_is_stored_and_nothing_is_half_stored",
        ),
        (f"{FAULTS}test_network.py::test_requests_that_are_torn_at_random_places_cost_no_job",),
    ),
    "T02": (
        "workers are stopped past their locks, and go on",
        (
            f"{HERE}test_processes.py::test_workers_that_were_stopped_past_their_locks_give_their_jobs_up",
        ),
        (
            f"{HERE}test_processes.py::test_workers_that_were_stopped_past_their_locks_give_their_jobs_up",
            f"{HERE}test_mixed.py"
            "::test_what_a_stopped_worker_held_is_done_by_the_other_side_and_by_it_alone",
        ),
    ),
    "T02b": (
        "all workers are suspended for three locks",
        (
            f"{HERE}test_processes.py"
            "::test_a_fleet_that_was_suspended_runs_each_job_at_most_once_more",
        ),
        (
            f"{HERE}test_processes.py"
            "::test_a_fleet_that_was_suspended_runs_each_job_at_most_once_more",
        ),
    ),
    "T03": (
        "handlers block their loops for three locks",
        (
            f"{HERE}test_processes.py::test_handlers_that_block_their_loops_for_three_locks_keep_their_jobs",
        ),
        (
            f"{HERE}test_processes.py::test_handlers_that_block_their_loops_for_three_locks_keep_their_jobs",
        ),
    ),
    "T04": (
        "jobs kill whatever worker runs them",
        (
            f"{HERE}test_processes.py::test_jobs_that_kill_their_workers_fail_and_the_others_complete",
        ),
        (
            f"{HERE}test_processes.py::test_jobs_that_kill_their_workers_fail_and_the_others_complete",
        ),
    ),
    "T05": (
        "workers are told to stop, at any moment",
        (
            f"{HERE}test_processes.py::test_workers_that_are_told_to_stop_leave_nothing_behind",
            f"{HERE}test_ids.py"
            "::test_workers_that_start_and_stop_leave_no_thread_task_or_descriptor",
        ),
        (
            f"{HERE}test_processes.py::test_workers_that_are_told_to_stop_leave_nothing_behind",
            f"{HERE}test_ids.py"
            "::test_workers_that_start_and_stop_leave_no_thread_task_or_descriptor",
            f"{HERE}test_mixed.py"
            "::test_workers_of_both_sides_that_are_told_to_stop_leave_nothing_behind",
            f"{FAULTS}test_outages.py::test_a_worker_stops_in_time_while_its_server_is_away",
        ),
    ),
    "T06": (
        "the server is killed, stopped, restarted",
        None,
        (
            f"{FAULTS}test_outages.py::test_idle_workers_take_jobs_again_at_once",
            f"{FAULTS}test_outages.py::test_jobs_that_run_through_an_outage_run_once",
            f"{FAULTS}test_crashes.py"
            "::test_the_server_is_killed_again_and_again_and_no_acknowledged_job_is_lost",
        ),
    ),
    "T07": (
        "a replica takes over",
        None,
        (
            f"{FAULTS}test_placement.py"
            "::test_what_a_failover_loses_was_acknowledged_in_the_lag_and_nothing_is_stuck",
            f"{FAULTS}test_failover.py"
            "::test_a_failover_loses_only_what_no_replica_had_and_nobody_confirmed",
        ),
    ),
    "T08": ("the network is cut, silent, slow, torn", None, (f"{FAULTS}test_network.py",)),
    "T09": (
        "the server refuses: OOM, BUSY, READONLY, LOADING, no connection left",
        None,
        (
            f"{FAULTS}test_refusals.py",
            f"{FAULTS}test_outages.py::test_a_server_that_loads_its_data_is_waited_for",
            f"{FAULTS}test_network.py::test_workers_that_get_no_connection_wait_for_one",
        ),
    ),
    "T11": ("the power is cut", (f"{CHAOS}test_power_cut.py",), None),
    "T12": (
        "the disk is full, read only, locked, damaged; the file is another one",
        (f"{FAULTS}test_disk.py",),
        None,
    ),
    "T12b": (
        "two stores in one process, visitors coming and going, a log deleted by hand",
        (f"{HERE}test_visitors.py", f"{FAULTS}test_corruption.py"),
        None,
    ),
    "T13": (
        "stored records are damaged",
        (f"{HERE}test_ids.py::test_good_jobs_complete_among_bad_ones_and_bad_ones_end",),
        (f"{FAULTS}test_damage.py::test_good_jobs_complete_among_bad_ones_and_bad_ones_end",),
    ),
    "T14": (
        "flows: wide, deep, racing, with every fate of a child",
        (
            f"{HERE}test_ids.py::test_a_wide_parent_runs_once_with_every_result",
            f"{HERE}test_ids.py::test_a_chain_of_parents_runs_from_its_end",
            f"{HERE}test_ids.py::test_the_last_two_children_race_and_the_parent_runs_once",
            f"{HERE}test_ids.py::test_a_parent_ends_whatever_becomes_of_its_children",
        ),
        (
            f"{HERE}test_ids.py::test_a_wide_parent_runs_once_with_every_result",
            f"{HERE}test_ids.py::test_a_chain_of_parents_runs_from_its_end",
            f"{HERE}test_ids.py::test_the_last_two_children_race_and_the_parent_runs_once",
            f"{HERE}test_ids.py::test_a_parent_ends_whatever_becomes_of_its_children",
        ),
    ),
    "T15": (
        "thousands of jobs come and go",
        (f"{HERE}test_ids.py::test_memory_stays_when_jobs_come_and_go",),
        (f"{HERE}test_ids.py::test_memory_stays_when_jobs_come_and_go",),
    ),
    "T16": (
        "a worker's clock is wrong",
        None,
        (f"{FAULTS}test_crashes.py::test_a_clock_that_is_wrong_makes_nothing_early_or_late",),
    ),
    "T17": (
        "eight processes store and run a schedule, and are killed",
        (f"{HERE}test_schedules.py::test_no_run_is_missing_and_none_is_double",),
        (f"{HERE}test_schedules.py::test_no_run_is_missing_and_none_is_double",),
    ),
    "T20": (
        "ids, keys and decisions race",
        (
            f"{HERE}test_ids.py::test_of_many_who_add_an_id_at_once_exactly_one_adds_it",
            f"{HERE}test_ids.py::test_a_dedup_key_is_free_when_its_job_has_ended_however",
            f"{HERE}test_ids.py"
            "::test_removing_retrying_and_cancelling_beside_workers_leaves_a_sound_store",
        ),
        (
            f"{HERE}test_ids.py::test_of_many_who_add_an_id_at_once_exactly_one_adds_it",
            f"{HERE}test_ids.py::test_a_dedup_key_is_free_when_its_job_has_ended_however",
            f"{HERE}test_ids.py"
            "::test_removing_retrying_and_cancelling_beside_workers_leaves_a_sound_store",
        ),
    ),
}
