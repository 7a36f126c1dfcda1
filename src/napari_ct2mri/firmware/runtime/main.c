/* The loop: a model and slices in over the serial line, synthetic MR out (docs/link-protocol.md). */
#include "session.h"

void ct_main(const ct_port *port) {
  static ct_session session; /* of this loop alone: too large for the stack of a small board */
  int done = 0;
  ct_session_start(&session, port);
  while (done >= 0) {
    if (done == 0) {
      port->wait(port->user);
    }
    done = ct_session_step(&session);
  }
}
