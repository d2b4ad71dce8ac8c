import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { VirtioDeviceId } from '../../../devices/virtio/device.js';
import { Reactor } from '../../../host/index.js';
import { VhostUserFunction, type ServedDevice } from '../../../manager/device-process/served-function.js';
import { EchoDevice } from '../ports/vhost-user/harness.js';
import { ProtocolFeature, RawFrontEnd, Request } from '../ports/vhost-user/raw-front-end.js';
import { temporaryFolders } from '../temporary-folder.js';

const folder = temporaryFolders();

const SPEC = {
  function: '1.0',
  port: 'vhost-user',
  msix: true,
  device: { type: '9p', tag: 't', readOnly: false },
} as const;

/** What a function needs of whatever it serves. */
function servedOf(deviceId: number): ServedDevice {
  return {
    device: Object.assign(new EchoDevice(), { deviceId }),
    counted: () => ({ bytesRead: 0, bytesWritten: 0 }),
    setSource: () => Promise.resolve(),
    tree: undefined,
    disk: undefined,
  };
}

/** Whether a device of this type offers to move its state over vhost-user. */
async function offersState(deviceId: number): Promise<boolean> {
  const reactor = new Reactor({ onError: () => {} });
  reactor.start();
  const socketPath = join(folder(), 'socket');
  const hooks = { onConnect: () => {}, onDisconnect: () => {}, onHelper: () => {}, onChild: () => {} };
  const spec = { ...SPEC, socketPath };
  const served = new VhostUserFunction(servedOf(deviceId), spec, hooks, reactor, () => {});
  const frontEnd = new RawFrontEnd(reactor, socketPath);
  onTestFinished(async () => {
    frontEnd.close();
    await served.close();
    reactor.close();
  });
  const features = await frontEnd.queryU64(Request.GET_PROTOCOL_FEATURES);
  return (features & ProtocolFeature.DEVICE_STATE) !== 0n;
}

it('a card does not offer its state to a VMM, which has it already, and other devices do', async () => {
  expect(await offersState(VirtioDeviceId.network)).toBe(false);
  expect(await offersState(VirtioDeviceId.block)).toBe(true);
  expect(await offersState(VirtioDeviceId.fileSystem9p)).toBe(true);
});
