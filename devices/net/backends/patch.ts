import type { NetBackend, NetPort } from './net-backend.js';

/**
 * Joins two backends by a cable, as cards would be plugged into them: a port of a switch and a TAP device, say. What one has no room
 * for is refused to the other.
 */
export function patch(a: NetBackend, b: NetBackend): void {
  a.port = endTowards(b);
  b.port = endTowards(a);
}

/** The end of the cable at the other backend: what that delivers goes out by `to`. */
function endTowards(to: NetBackend): NetPort {
  return {
    offer: (frame) => !to.linkUp || to.send(frame),
    deliver: (frame) => {
      if (to.linkUp) to.send(frame);
    },
    // The other one takes frames again: `to` may offer what was refused.
    sendable: () => to.roomForMore(),
    linkChanged: () => {},
  };
}
