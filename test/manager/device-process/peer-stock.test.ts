import { closeSync, fstatSync, openSync } from 'node:fs';
import { beforeEach, describe, expect, it } from 'vitest';
import { PeerStock } from '../../../manager/device-process/peer-stock.js';

const FN = 'slot1-fn0';

describe('the connections of a confined process', () => {
  let wanted: string[];
  let stock: PeerStock;

  beforeEach(() => {
    wanted = [];
    stock = new PeerStock((fn) => wanted.push(fn));
  });

  const socket = () => openSync('/dev/null', 'r');

  it('are asked for where there is none, and taken where there is', () => {
    const dialer = stock.dialer(FN);
    expect(() => dialer.connect()).toThrow('the daemon is asked to connect');
    expect(wanted).toEqual([FN]);
    const fd = socket();
    stock.put(FN, fd);
    expect(dialer.connect()).toBe(fd);
    closeSync(fd);
    expect(() => dialer.connect()).toThrow();
  });

  it('come to who waits for one, or not at all in time', async () => {
    const dialer = stock.dialer(FN);
    const waiting = dialer.dial(10_000);
    const fd = socket();
    stock.put(FN, fd);
    expect(await waiting).toBe(fd);
    closeSync(fd);
    await expect(dialer.dial(1)).rejects.toThrow('the daemon does not connect to it');
  });

  it('are for one function, and go with it', () => {
    const fd = socket();
    stock.put(FN, fd);
    expect(() => stock.dialer('slot2-fn0').connect()).toThrow();
    stock.drop(FN);
    expect(() => fstatSync(fd)).toThrow('EBADF');
    expect(() => stock.dialer(FN).connect()).toThrow();
  });

  it('are not piled up by a daemon that sends more than it is asked for', () => {
    const fds = Array.from({ length: 40 }, () => socket());
    for (const fd of fds) stock.put(FN, fd);
    const open = fds.filter((fd) => {
      try {
        fstatSync(fd);
        return true;
      } catch {
        return false;
      }
    });
    expect(open.length).toBe(16);
    stock.drop(FN);
  });
});
