"""The migrations, one file for each step; `down_revision` names the step before."""
