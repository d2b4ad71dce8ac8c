import { onTestFinished } from 'vitest';
import { StreamFraming } from '../../../../../devices/net/backends/stream/framing.js';
import { StreamConnection } from '../../../../../devices/net/backends/stream/stream-connection.js';
import { Reactor, socketPair } from '../../../../../host/index.js';
import { frameOf, TestPort } from '../../support/frames.js';
import { finishedFrames, type MadeBackend } from '../backend-suite.js';

/** Two ends of one stream, as two processes of ours have it: frames go with what is left to do to them. */
export function joined() {
  const reactor = new Reactor({
    onError: (error) => {
      throw error;
    },
  });
  reactor.start();
  const logs: string[] = [];
  const [near, far] = socketPair().map((fd, i) => {
    const connection = new StreamConnection({
      ...{ name: `end ${i}`, framing: StreamFraming.WITH_HEADER, reactor },
      log: (line) => logs.push(line),
    });
    connection.adopt(fd);
    return connection;
  });
  const port = new TestPort();
  far.port = port;
  onTestFinished(() => {
    near.close();
    far.close();
    reactor.close();
  });
  return { near, far, port, logs };
}

/** For the suite. */
export function joinedBackend(): MadeBackend {
  const { near, far, port } = joined();
  return {
    backend: near,
    out: async (count) => {
      const frames: Uint8Array[] = [];
      while (frames.length < count) {
        await new Promise((resolve) => setTimeout(resolve, 1));
        frames.push(...finishedFrames(port));
      }
      return frames;
    },
    inject: (bytes) => void far.send(frameOf(bytes)),
  };
}
