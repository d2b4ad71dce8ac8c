import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { QmpClient, QmpClosedError, QmpCommandError, QmpTimeoutError } from '../../../manager/vmm/qmp.js';
import { FakeQmp, refused } from './fake-qmp.js';

describe('QmpClient', () => {
  let qemu: FakeQmp;
  let client: QmpClient | undefined;

  beforeEach(async () => {
    qemu = new FakeQmp();
    await qemu.listen();
  });
  afterEach(async () => {
    client?.close();
    client = undefined;
    await qemu.close();
  });

  async function connected(): Promise<QmpClient> {
    return (client = await QmpClient.connect(qemu.path));
  }

  describe('hostile bytes', () => {
    it.each([
      ['garbage', 'hello\n'],
      ['a greeting without a version', '{"QMP": {}}\n'],
      ['a version of text', '{"QMP": {"version": {"qemu": {"major": "11", "minor": 1, "micro": 0}}}}\n'],
      ['a number', '42\n'],
      ['an array', '[]\n'],
      ['null', 'null\n'],
    ])('refuses %s in place of a greeting', async (_, bytes) => {
      qemu.greet = () => undefined;
      const connecting = QmpClient.connect(qemu.path);
      const outcome = expect(connecting).rejects.toThrow(QmpClosedError);
      const sending = setInterval(() => qemu.send(bytes), 5);
      await outcome;
      clearInterval(sending);
    });

    it.each([
      ['garbage', '}{\n'],
      ['a message that is neither answer nor event', '{"id": 1}\n'],
      ['an error of text', '{"error": "no", "id": 1}\n'],
    ])('ends the connection at %s, and what waits fails', async (_, bytes) => {
      const qmp = await connected();
      qemu.answer = () => {
        qemu.send(bytes);
        return undefined;
      };
      await expect(qmp.execute('stop')).rejects.toThrow(/this is not QMP/);
      expect((await qmp.closed).message).toMatch(/this is not QMP/);
    });

    it('ends the connection at a line without end, and holds no more than its limit', async () => {
      const qmp = await connected();
      qemu.send('"');
      for (let i = 0; i < 9; i++) qemu.send(Buffer.alloc(1 << 20, 'x'));
      expect((await qmp.closed).message).toMatch(/more than 8388608 bytes/);
    });

    it('passes over answers to commands that nobody sent', async () => {
      const qmp = await connected();
      qemu.send(
        '{"return": 1, "id": 99}\n{"return": 2}\n{"error": {"class": "X", "desc": "y"}, "id": {}}\n\n',
      );
      expect(await qmp.execute('stop')).toEqual({});
    });

    it('gives an error without texts texts of its own', async () => {
      const qmp = await connected();
      qemu.answer = (command) => {
        qemu.send(JSON.stringify({ error: { class: 7 }, id: command.id }) + '\n');
        return undefined;
      };
      await expect(qmp.execute('stop')).rejects.toMatchObject({ errorClass: 'unknown error' });
    });
  });

  it('reads the version and runs commands with their arguments', async () => {
    const qmp = await connected();
    expect(qmp.version).toEqual({ major: 11, minor: 1, micro: 3 });
    qemu.answer = ({ arguments: args }) => ({ return: [args] });
    expect(await qmp.execute('query', { a: [1, 'ü'] })).toEqual([{ a: [1, 'ü'] }]);
    expect(qemu.commands[0]).toMatchObject({ execute: 'query' });
  });

  it('matches answers to commands by id, whatever their order', async () => {
    const qmp = await connected();
    let release = () => {};
    const held = new Promise<void>((resolve) => (release = resolve));
    qemu.answer = async ({ execute }) => {
      if (execute === 'slow') await held;
      return { return: execute };
    };
    const slow = qmp.execute('slow');
    expect(await qmp.execute('fast')).toBe('fast');
    release();
    expect(await slow).toBe('slow');
  });

  it('hears events until told to stop, in order with answers', async () => {
    const qmp = await connected();
    const heard: string[] = [];
    const stop = qmp.onEvent(({ event, data }) => heard.push(`${event} ${JSON.stringify(data)}`));
    qemu.answer = () => {
      qemu.event('STOP', { x: 1 });
      return { return: {} };
    };
    await qmp.execute('stop');
    expect(heard).toEqual(['STOP {"x":1}']);
    stop();
    await qmp.execute('stop');
    expect(heard).toHaveLength(1);
  });

  it('turns an error answer into an error with its class', async () => {
    const qmp = await connected();
    qemu.answer = () => refused('Device x not found', 'DeviceNotFound');
    const error: unknown = await qmp.execute('device_del', { id: 'x' }).catch((e: unknown) => e);
    expect(error).toBeInstanceOf(QmpCommandError);
    expect(error).toMatchObject({ errorClass: 'DeviceNotFound', message: 'Device x not found' });
  });

  it('gives up waiting for an answer, and goes on with the next', async () => {
    const qmp = await connected();
    qemu.answer = ({ execute }) => (execute === 'never' ? undefined : { return: 'yes' });
    await expect(qmp.execute('never', {}, 20)).rejects.toThrow(QmpTimeoutError);
    expect(await qmp.execute('other')).toBe('yes');
  });

  it('gives up waiting for a greeting', async () => {
    qemu.greet = () => undefined;
    await expect(QmpClient.connect(qemu.path, 20)).rejects.toThrow(QmpTimeoutError);
  });

  it('fails all that waits when QEMU goes away in the middle of a command', async () => {
    const qmp = await connected();
    qemu.answer = () => {
      qemu.send('{"return": ');
      qemu.hangUp();
      return undefined;
    };
    const both = await Promise.allSettled([qmp.execute('a'), qmp.execute('b')]);
    for (const result of both)
      expect(result).toMatchObject({ status: 'rejected', reason: { name: 'QmpClosedError' } });
    await expect(qmp.execute('c')).rejects.toThrow(QmpClosedError);
  });

  it('says which error the socket had where nobody listens', async () => {
    await qemu.stop();
    await expect(QmpClient.connect(qemu.path)).rejects.toMatchObject({ code: 'ENOENT' });
  });
});
