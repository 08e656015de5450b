"""Every setting of a study, as frozen models: the source of `workflow/schemas/config.schema.json`.

`catalogue` is what exists (models, methods, protocols, kinds, teachers, splits), `choices` how it is used and what of
it is run, `stages` what one job is told, `study` a whole configuration and how it is read.
"""
