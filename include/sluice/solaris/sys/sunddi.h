/* Its names are in <sluice/solaris.h>. */
#include <sluice/solaris.h>
