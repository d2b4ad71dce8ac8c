/** What a device process tells of its functions. */
import type { ServedFunction } from './device-process.js';
import type { FoundFunction, FunctionSpec, FunctionStatus } from './protocol.js';

export function statusOf(name: string, served: ServedFunction): FunctionStatus {
  return {
    function: name,
    connected: served.connected,
    counters: served.counters(),
    ...(served.driver && { driver: served.driver }),
    ...(served.disk && { disk: { sizeBytes: served.disk.sizeBytes, trouble: served.disk.trouble } }),
    ...(served.card && { card: served.card.status }),
    ...(served.tree && { helper: served.tree.hasHelper, commands: served.tree.commands.isEnabled }),
    ...(served.queues && { seats: served.queues.list(served.counters()) }),
  };
}

export function foundOf(
  { function: name, port, msix, device }: FunctionSpec,
  served: ServedFunction | undefined,
): FoundFunction {
  return {
    ...{ function: name, port, msix },
    ...(served?.keep && { keep: { ...served.keep } }),
    empty: device.type === '9p' && served?.mount === undefined,
    ...(device.type === 'card' && device.peer.type === 'switch' && { switchPort: device.peer.socketPath }),
  };
}
