"""Train what a cell learns: adapters or models, one an item or one for the split, on one process or several.

In: the learner, training sequences, the method (settings). Out: `adapters/<item or all>/` (PEFT's format, or
transformers'), there `samples=<n>/` for milestones, and `train_log.parquet`. Unfinished work lives in `unfinished/`
beside them: a killed run, started again, goes on from it.
"""

import argparse
import shutil
import sys
from contextlib import nullcontext
from pathlib import Path


def main(argv: list[str] | None = None) -> None:
    """Parse the command line and do the work."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--settings", required=True, help="JSON of FineTuneStage")
    parser.add_argument("--cell", required=True, help="model=.../method=.../...")
    parser.add_argument("--model", required=True, type=Path, help="the learner's model.json")
    parser.add_argument("--sequences", required=True, type=Path)
    parser.add_argument("--output-adapters", required=True, type=Path)
    parser.add_argument("--output-log", required=True, type=Path)
    parser.add_argument("--version", type=int, default=0, help="of the code: what another one has learned is no use")
    parser.add_argument("--launch-settings", default="{}", help="JSON of Launch: processes, and tokens of a pass")
    parser.add_argument("--checkpoint-minutes", type=float, default=10.0)
    parser.add_argument("--tensorboard", type=int, choices=(0, 1), default=0)
    args = parser.parse_args(argv)

    from sys2ft.settings.resources import Launch
    from sys2ft.training.launch import join, leave, meet, relaunch, world_size

    launch = Launch.model_validate_json(args.launch_settings)
    relaunch(launch.nodes, launch.processes)
    join()

    from sys2ft.grid import Cell
    from sys2ft.lease import end, hold_lease, start_again
    from sys2ft.origins import tell_origin
    from sys2ft.settings.stages import FineTuneStage
    from sys2ft.tables import SEQUENCES, TRAIN_LOG, build_table, read_rows, write_table
    from sys2ft.training.cell import Run, fine_tune_cell, is_first
    from sys2ft.training.checkpoint import InterruptedTraining

    stage, cell = FineTuneStage.model_validate_json(args.settings), Cell.from_path(args.cell)
    unfinished = args.output_adapters.parent / "unfinished"
    curves = args.output_adapters.parent / "tensorboard" if args.tensorboard else None
    deepspeed = Path(launch.deepspeed) if launch.deepspeed else None
    spread = (launch.tokens_per_pass, launch.activation_checkpointing, deepspeed)
    kept = unfinished.with_name("kept")
    run = Run(unfinished, *spread, args.checkpoint_minutes, curves, kept, args.version)
    lost = start_again if world_size() == 1 else end
    with hold_lease(unfinished.with_name("lease"), lost=lost) if is_first() else nullcontext():
        meet()
        origin = tell_origin(__file__, model=args.model, sequences=args.sequences)
        try:
            log = fine_tune_cell(args.model, read_rows(SEQUENCES, args.sequences), stage, cell, run)
        except InterruptedTraining as stop:
            print(stop, flush=True)
            leave()
            sys.exit(128 + stop.signum)
        if is_first():
            table = build_table(TRAIN_LOG, log, cell.keys())
            write_table(table, args.output_log, stage.model_dump(mode="json"), origin)
            (unfinished / "identity").unlink()  # killed from here on, the next call begins anew
            shutil.rmtree(args.output_adapters, ignore_errors=True)
            (unfinished / "adapters").rename(args.output_adapters)
            shutil.rmtree(unfinished)
    leave()


if __name__ == "__main__":
    main()
