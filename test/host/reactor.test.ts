import { createServer, get } from 'node:http';
import { openSync, promises } from 'node:fs';
import { join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { afterEach, describe, expect, it, onTestFinished } from 'vitest';
import {
  closeFd,
  EpollEvents,
  Errno,
  eventfdCreate,
  eventfdDrain,
  eventfdSignal,
  Reactor,
  type ReactorOptions,
  ReceivedFds,
  recvMessage,
  sendMessage,
  socketPair,
} from '../../host/index.js';
import { openDescriptors, owned, temporaryDirectory } from './support.js';

const { EPOLLIN, EPOLLOUT, EPOLLET, EPOLLHUP } = EpollEvents;

const errors: { error: unknown; fd: number }[] = [];

afterEach(() => {
  expect(errors.splice(0)).toEqual([]);
});

function newReactor(options: Partial<ReactorOptions> = {}): Reactor {
  const reactor = new Reactor({ onError: (error, fd) => errors.push({ error, fd }), ...options });
  onTestFinished(() => {
    reactor.close();
  });
  return reactor;
}

function startedReactor(options: Partial<ReactorOptions> = {}): Reactor {
  const reactor = newReactor(options);
  reactor.start();
  return reactor;
}

/** A promise and the function that settles it. */
function signal(): { readonly happened: Promise<void>; readonly happen: () => void } {
  let happen = (): void => undefined;
  const happened = new Promise<void>((resolve) => {
    happen = resolve;
  });
  return { happened, happen };
}

/** Another descriptor of the same open file, as it came back through a socket. */
function duplicate(fd: number): number {
  const [one, other] = socketPair();
  const fds = new ReceivedFds(1);
  sendMessage(one, Buffer.from('x'), 0, 1, [fd]);
  recvMessage(other, new Uint8Array(1), 0, 1, fds);
  closeFd(one);
  closeFd(other);
  return fds.take(0);
}

/** Resolves when the reactor has delivered everything that was ready before the call. */
async function settled(reactor: Reactor): Promise<void> {
  const fd = owned(eventfdCreate());
  const { happened, happen } = signal();
  reactor.add(fd, EPOLLIN | EPOLLET, happen);
  eventfdSignal(fd);
  await happened;
  reactor.remove(fd);
  await nextTurn();
}

describe.each([
  ['that spins', {}],
  ['that never spins', { maxSpinMicros: 0 }],
])('a reactor %s', (_name, options) => {
  it('calls the handler with the events and the descriptor', async () => {
    const reactor = startedReactor(options);
    const fd = owned(eventfdCreate());
    const { happened, happen } = signal();
    const calls: number[][] = [];
    reactor.add(fd, EPOLLIN, (events, ready) => {
      calls.push([events, ready, eventfdDrain(fd)]);
      happen();
    });
    eventfdSignal(fd);
    eventfdSignal(fd);
    await happened;
    await settled(reactor);
    expect(calls).toEqual([[EPOLLIN, fd, 2]]);
  });

  it('calls again for a level-triggered descriptor until it is drained', async () => {
    const reactor = startedReactor(options);
    const fd = owned(eventfdCreate());
    const { happened, happen } = signal();
    let calls = 0;
    reactor.add(fd, EPOLLIN, () => {
      if (++calls < 100) return;
      eventfdDrain(fd);
      happen();
    });
    eventfdSignal(fd);
    await happened;
    await settled(reactor);
    expect(calls).toBe(100);
  });

  it('takes every signal of an edge-triggered eventfd as an event, though nobody drains it', async () => {
    const reactor = startedReactor(options);
    const fd = owned(eventfdCreate());
    const { happened, happen } = signal();
    let calls = 0;
    reactor.add(fd, EPOLLIN | EPOLLET, () => {
      if (++calls === 1000) happen();
      else eventfdSignal(fd);
    });
    eventfdSignal(fd);
    await happened;
    expect(eventfdDrain(fd)).toBe(1000);
  });

  it('serves timers, HTTP and file I/O of Node while it is busy', async () => {
    const reactor = startedReactor(options);
    const fd = owned(eventfdCreate());
    let busy = true;
    reactor.add(fd, EPOLLIN | EPOLLET, () => {
      if (busy) eventfdSignal(fd);
    });
    eventfdSignal(fd);
    const socketPath = join(temporaryDirectory(), 'http');
    const server = createServer((_request, response) => response.end('ok')).listen(socketPath);
    onTestFinished(() => {
      server.close();
    });
    const served = new Promise<void>((resolve, reject) => {
      server.on('listening', () => {
        get({ socketPath, agent: false }, (response) => response.resume().on('end', resolve)).on(
          'error',
          reject,
        );
      });
    });
    await served;
    expect((await promises.stat('/')).isDirectory()).toBe(true);
    await new Promise((resolve) => setTimeout(resolve, 1));
    busy = false;
  });

  it('runs promise continuations of a handler before the next turn', async () => {
    const reactor = startedReactor(options);
    const fd = owned(eventfdCreate());
    const { happened, happen } = signal();
    reactor.add(fd, EPOLLIN | EPOLLET, () => {
      void Promise.resolve().then(happen);
    });
    eventfdSignal(fd);
    await happened;
  });
});

describe('watches', () => {
  it('are refused for bad descriptors, regular files and descriptors watched already', () => {
    const reactor = newReactor();
    const fd = owned(eventfdCreate());
    const nothing = (): void => undefined;
    expect(reactor.add(1_000_000, EPOLLIN, nothing)).toBe(-Errno.EBADF);
    expect(reactor.add(owned(openSync('/proc/self/exe', 'r')), EPOLLIN, nothing)).toBe(-Errno.EPERM);
    expect(reactor.add(fd, EPOLLIN, nothing)).toBe(0);
    expect(reactor.add(fd, EPOLLIN, nothing)).toBe(-Errno.EEXIST);
    expect(reactor.remove(fd)).toBe(0);
    expect(reactor.remove(fd)).toBe(-Errno.ENOENT);
    expect(reactor.modify(fd, EPOLLIN)).toBe(-Errno.ENOENT);
  });

  it('a refused second watch leaves the first one working', async () => {
    const reactor = startedReactor();
    const fd = owned(eventfdCreate());
    const { happened, happen } = signal();
    reactor.add(fd, EPOLLIN | EPOLLET, happen);
    reactor.add(fd, EPOLLIN, () => {
      throw new Error('the wrong handler');
    });
    eventfdSignal(fd);
    await happened;
  });

  it('can change the events they wait for', async () => {
    const reactor = startedReactor();
    const [one, other] = socketPair();
    owned(one);
    const { happened, happen } = signal();
    const seen: number[] = [];
    reactor.add(one, EPOLLIN, (events) => {
      seen.push(events);
      reactor.modify(one, 0);
      if ((events & EPOLLHUP) !== 0) {
        reactor.remove(one);
        happen();
      } else {
        closeFd(other);
      }
    });
    reactor.modify(one, EPOLLOUT);
    await happened;
    expect(seen[0]).toBe(EPOLLOUT);
    expect(seen).toHaveLength(2);
  });

  it('removed by an earlier handler of the same batch are not called', async () => {
    const reactor = newReactor();
    const fds = [owned(eventfdCreate()), owned(eventfdCreate()), owned(eventfdCreate())];
    const called: number[] = [];
    for (const fd of fds) {
      reactor.add(fd, EPOLLIN, () => {
        called.push(fd);
        for (const each of fds) reactor.remove(each);
      });
      eventfdSignal(fd);
    }
    reactor.start();
    await settled(reactor);
    expect(called).toHaveLength(1);
  });

  it('of a new descriptor do not get the event of an old one with the same number', async () => {
    const reactor = newReactor();
    const first = owned(eventfdCreate());
    const second = eventfdCreate();
    let wrong = 0;
    reactor.add(first, EPOLLIN | EPOLLET, () => {
      reactor.remove(second);
      closeFd(second);
      expect(owned(eventfdCreate())).toBe(second);
      reactor.add(second, EPOLLIN, () => wrong++);
    });
    reactor.add(second, EPOLLIN, () => {
      throw new Error('called after its removal');
    });
    eventfdSignal(first);
    eventfdSignal(second);
    reactor.start();
    await settled(reactor);
    expect(wrong).toBe(0);
  });

  it('of a descriptor closed without removal while a duplicate lives on are got rid of', async () => {
    const reactor = startedReactor({ maxSpinMicros: 0 });
    const [closed, peer] = socketPair();
    owned(peer);
    const live = owned(eventfdCreate());
    const { happened, happen } = signal();
    reactor.add(live, EPOLLIN | EPOLLET, happen);
    reactor.add(closed, EPOLLIN, () => {
      throw new Error('called after its removal');
    });
    owned(duplicate(closed));
    closeFd(closed);
    expect(reactor.remove(closed)).toBe(-Errno.EBADF);
    sendMessage(peer, Buffer.from('never read'), 0, 10);
    await settled(reactor);
    await settled(reactor);
    // Without a new epoll set the socket would be ready for ever, and every turn of the event loop a wake.
    const before = reactor.wakeUps;
    for (let i = 0; i < 20; i++) await nextTurn();
    expect(reactor.wakeUps).toBe(before);
    eventfdSignal(live);
    await happened;
  });
});

describe('errors', () => {
  it('thrown by a handler are reported with its descriptor, and the others are served', async () => {
    const reactor = newReactor();
    const bad = owned(eventfdCreate());
    const good = owned(eventfdCreate());
    const { happened, happen } = signal();
    const failure = new Error('handler');
    reactor.add(bad, EPOLLIN | EPOLLET, () => {
      throw failure;
    });
    reactor.add(good, EPOLLIN | EPOLLET, happen);
    eventfdSignal(bad);
    eventfdSignal(good);
    reactor.start();
    await happened;
    expect(errors.splice(0)).toEqual([{ error: failure, fd: bad }]);
  });

  it('thrown by a poller are reported, the poller goes, and everything else is served', async () => {
    const failure = new Error('a poller');
    const fail = (): never => {
      throw failure;
    };
    const reactor = startedReactor({ maxSpinMicros: 0 });
    reactor.keepAwake({ poll: fail, rest: fail });
    await settled(reactor);
    for (let i = 0; i < 5; i++) await nextTurn();
    const reported = errors.splice(0);
    expect(reported).not.toHaveLength(0);
    for (const error of reported) expect(error).toEqual({ error: failure, fd: -1 });
    await settled(reactor);
  });
});

describe('a poller', () => {
  /** Has `work` pieces of work, then asks to rest, and has one more the first `late` times. */
  function poller(work: number, late = 0) {
    const { happened, happen } = signal();
    const seen = { polls: 0, rests: 0, done: 0 };
    const poll = (): boolean => {
      seen.polls++;
      if (work === 0) return false;
      work--;
      seen.done++;
      return true;
    };
    const rest = (): boolean => {
      seen.rests++;
      if (late > 0) {
        late--;
        work++;
        return true;
      }
      happen();
      return false;
    };
    return { poll, rest, seen, rested: happened };
  }

  it.each([
    ['spins', {}],
    ['never spins', { maxSpinMicros: 0 }],
  ])(
    'is polled while it finds work, then rests, and is left alone, by a reactor that %s',
    async (_, options) => {
      const reactor = startedReactor(options);
      const busy = poller(1000);
      reactor.keepAwake(busy);
      await busy.rested;
      const { polls, rests } = busy.seen;
      expect(busy.seen.done).toBe(1000);
      expect(rests).toBe(1);
      await settled(reactor);
      for (let i = 0; i < 20; i++) await nextTurn();
      expect(busy.seen).toMatchObject({ polls, rests });
    },
  );

  it('goes on where work came before it could rest', async () => {
    const reactor = startedReactor();
    const late = poller(1, 3);
    reactor.keepAwake(late);
    await late.rested;
    expect(late.seen).toMatchObject({ done: 4, rests: 4 });
  });

  it('that is always busy keeps neither others from resting nor descriptors from being served', async () => {
    const reactor = startedReactor({ maxSpinMicros: 100 });
    let stop = false;
    reactor.keepAwake({ poll: () => !stop, rest: () => false });
    const idle = poller(0);
    reactor.keepAwake(idle);
    await idle.rested;
    await settled(reactor);
    stop = true;
  });

  it('waits for the start of a reactor that has not started, and is forgotten by one that is closed', async () => {
    const reactor = newReactor();
    const early = poller(1);
    reactor.keepAwake(early);
    for (let i = 0; i < 5; i++) await nextTurn();
    expect(early.seen.polls).toBe(0);
    reactor.start();
    await early.rested;
    const last = poller(1);
    reactor.keepAwake(last);
    reactor.close();
    for (let i = 0; i < 5; i++) await nextTurn();
    expect(last.seen.polls).toBe(0);
  });
});

describe('start, stop and close', () => {
  it('hold back events while stopped, and lose none: not even edges of a batch that was cut short', async () => {
    const reactor = newReactor();
    const called = new Set<number>();
    const first = signal();
    const all = signal();
    for (let i = 0; i < 3; i++) {
      const fd = owned(eventfdCreate());
      reactor.add(fd, EPOLLIN | EPOLLET, () => {
        if (called.size === 0) reactor.stop();
        called.add(fd);
        first.happen();
        if (called.size === 3) all.happen();
      });
      eventfdSignal(fd);
    }
    reactor.start();
    await first.happened;
    for (let i = 0; i < 5; i++) await nextTurn();
    expect(called.size).toBe(1);
    reactor.start();
    await all.happened;
  });

  it('may be repeated, and leak no descriptor', () => {
    const before = openDescriptors();
    for (let i = 0; i < 10; i++) {
      const reactor = new Reactor({ onError: () => undefined });
      reactor.start();
      reactor.start();
      reactor.stop();
      reactor.start();
      reactor.close();
      reactor.close();
      reactor.stop();
    }
    expect(openDescriptors()).toBe(before);
  });

  it('a handler may close the reactor, and nothing runs after it', async () => {
    const reactor = newReactor();
    let polls = 0;
    reactor.keepAwake({ poll: () => polls++ < 0, rest: () => true });
    const { happened, happen } = signal();
    const fd = owned(eventfdCreate());
    reactor.add(fd, EPOLLIN, () => {
      reactor.close();
      happen();
    });
    eventfdSignal(fd);
    reactor.start();
    await happened;
    for (let i = 0; i < 5; i++) await nextTurn();
    expect(polls).toBe(0);
    expect(reactor.add(fd, EPOLLIN, () => undefined)).toBe(-Errno.EBADF);
  });
});
