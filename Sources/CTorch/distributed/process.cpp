#if defined(__linux__)
#include <signal.h>
#include <sys/prctl.h>
#endif

#include "ctorch_distributed.h"

bool ct_exit_with_parent(void) {
#if defined(__linux__)
  return prctl(PR_SET_PDEATHSIG, SIGKILL) == 0;
#else
  return false;
#endif
}
