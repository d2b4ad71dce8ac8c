/** Every backend that needs nothing of the host's but sockets, through the one suite. */
import { describe } from 'vitest';
import { LoopbackBackend } from '../../../../devices/net/backends/loopback.js';
import type { NetBackend } from '../../../../devices/net/backends/net-backend.js';
import { patch } from '../../../../devices/net/backends/patch.js';
import { CapturedBackend } from '../../../../devices/net/capture/captured-backend.js';
import { LearningSwitch } from '../../../../devices/net/switch/learning-switch.js';
import { frameOf, TestPort } from '../support/frames.js';
import { finishedFrames, netBackendSuite, type MadeBackend } from './backend-suite.js';
import { joinedBackend } from './stream/joined.js';
import { StreamPeer } from './stream/stream-peer.js';

/** Two ports of a switch, of which the second is the other end. */
function onSwitch(wrap = (port: NetBackend): NetBackend => port): MadeBackend {
  const net = new LearningSwitch();
  const backend = wrap(net.addPort({ vlan: 5 }));
  const other = net.addPort({ vlan: 5 });
  const port = new TestPort();
  other.port = port;
  return {
    backend,
    out: async () => finishedFrames(port),
    inject: (bytes) => void other.send(frameOf(bytes)),
  };
}

/** A port of a switch, of which another is patched to one of a second switch. */
function acrossSwitches(): MadeBackend {
  const [near, far] = [new LearningSwitch(), new LearningSwitch()];
  patch(near.addPort(), far.addPort());
  const backend = near.addPort();
  const other = far.addPort();
  const port = new TestPort();
  other.port = port;
  return {
    backend,
    out: async () => finishedFrames(port),
    inject: (bytes) => void other.send(frameOf(bytes)),
  };
}

describe('a network backend', () => {
  netBackendSuite('of a switch', { make: async () => onSwitch(), keepsRefused: false });
  netBackendSuite('of a switch, captured', {
    make: async () => onSwitch((port) => new CapturedBackend(port)),
    keepsRefused: false,
  });
  netBackendSuite('of two switches with a cable between', {
    make: async () => acrossSwitches(),
    keepsRefused: false,
  });
  netBackendSuite('at a stream socket', { make: () => StreamPeer.backend(), keepsRefused: true });
  netBackendSuite('at a stream socket, captured', {
    make: async () => {
      const made = await StreamPeer.backend();
      return { ...made, backend: new CapturedBackend(made.backend) };
    },
    keepsRefused: true,
  });
  netBackendSuite('at a stream between processes of ours', {
    make: async () => joinedBackend(),
    keepsRefused: true,
  });
  netBackendSuite('that is a loop', {
    make: async () => {
      const backend = new LoopbackBackend();
      return {
        backend,
        out: async () => finishedFrames(backend.port as TestPort),
        inject: (bytes) => void backend.send(frameOf(bytes)),
      };
    },
    keepsRefused: false,
  });
});
