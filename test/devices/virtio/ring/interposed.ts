import type { RunningRing } from '../../../../devices/virtio/ring/running-ring.js';

/** `ring`, with `beforeEnable` called each time just before notifications are turned on: the gap where wake-ups get lost. */
export function interposed(ring: RunningRing, beforeEnable: () => void): RunningRing {
  return {
    index: ring.index,
    size: ring.size,
    get broken() {
      return ring.broken;
    },
    get held() {
      return ring.held;
    },
    get underWay() {
      return ring.underWay;
    },
    memorySettled: () => ring.memorySettled(),
    setPaused: (paused) => ring.setPaused(paused),
    get position() {
      return ring.position;
    },
    save: () => ring.save(),
    pop: () => ring.pop(),
    push: (chain, writtenBytes) => ring.push(chain, writtenBytes),
    unpop: (chain) => ring.unpop(chain),
    flush: () => ring.flush(),
    disableNotifications: () => ring.disableNotifications(),
    enableNotifications: () => {
      beforeEnable();
      return ring.enableNotifications();
    },
    drop: () => ring.drop(),
  };
}
