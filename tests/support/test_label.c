/* A provider of security labels that takes any label: the server ships none that works without
   SELinux. Built by the tests, loaded into every session of their servers. */
#include "postgres.h"
#include "commands/seclabel.h"
#include "fmgr.h"

PG_MODULE_MAGIC;

void _PG_init(void);

static void
check(const ObjectAddress *object, const char *seclabel)
{
}

void
_PG_init(void)
{
	register_label_provider("test_label", check);
}
