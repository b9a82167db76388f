"""Coverage-guided fuzzing of everything that reads what strangers send (docs/explanation/fuzzing.md).

``python -m fuzz`` lists the targets, ``python -m fuzz mime --seconds 60`` runs one.
"""
