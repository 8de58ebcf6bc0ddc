"""The permissions of the dashboard, which Django keeps with a model. It has no table."""

from django.db import models


class BackgroundJobs(models.Model):
    """What may be given to users and groups in the admin."""

    class Meta:
        """No table, and no permissions but these."""

        app_label = "toril"
        managed = False
        default_permissions = ()
        permissions = (
            ("view_jobs", "Can view background jobs"),
            ("operate_jobs", "Can retry, cancel, edit and add background jobs"),
            ("administer_jobs", "Can do everything with background jobs"),
        )
        verbose_name = verbose_name_plural = "background jobs"
