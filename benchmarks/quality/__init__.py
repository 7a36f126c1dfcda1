"""How good presets are on patients they never saw: trained, scored, recorded, tabulated.

A *run* is one training of a recipe with a seed under a protocol (``recipes``, ``protocols``).
Each finished run leaves a small JSON record (``runs``, ``records``), from which every table is
computed (``summaries``, ``comparisons``, ``tables``). ``spread`` asks whether an ensemble knows
where it errs.
"""
