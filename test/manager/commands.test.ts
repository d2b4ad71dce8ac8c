import { describe, expect, it } from 'vitest';
import { MountTree } from '../../devices/9p/fs/mount-tree/mount-tree.js';
import { ServedCommands } from '../../manager/device-process/served-commands.js';
import { ControllerHarness, request } from './controller-harness.js';
import { refusal } from './refusal.js';

const COMMAND = { command: ['true'], env: {} };

describe('commands in a chassis’s guest', () => {
  const lab = ControllerHarness.perTest(3);

  async function all(): Promise<unknown[]> {
    const pages = [];
    for await (const page of lab.controller.commands.exec(COMMAND)) pages.push(page);
    return pages;
  }

  it('are refused without a tree that they could go by', async () => {
    await lab.boot();
    await lab.controller.attach(request(['a']));
    await expect(all()).rejects.toMatchObject(refusal('COMMANDS_OFF', /no mount tree/, /--via tree/));
    expect((await lab.controller.describe()).guestHelper).toBeUndefined();
  });

  it('go to the tree, give their pages, and are ended once they are over, or nobody asks any more', async () => {
    await lab.boot();
    await lab.controller.attach(request(['a'], { via: 'tree' }));
    lab.devices.execPages = [{ stdout: 'YQ==' }, {}, { exitCode: 3 }];
    expect(await all()).toEqual([{ command: 1 }, { stdout: 'YQ==' }, {}, { exitCode: 3 }]);
    expect(lab.devices.commands).toEqual([{ ...COMMAND, function: 'slot1-fn0' }]);
    expect(lab.devices.endedCommands).toEqual([1]);
    const left = lab.controller.commands.exec(COMMAND);
    await left.next();
    await left.return(undefined);
    expect(lab.devices.endedCommands).toEqual([1, 2]);
  });

  it('get their input again where there was no room for it', async () => {
    await lab.controller.commands.input(2, { data: 'AA==', end: false });
    expect(lab.devices.commandInputs).toEqual([
      { command: 2, data: 'AA==', end: false },
      { command: 2, data: 'AA==', end: false },
    ]);
  });
});

describe('the commands of a device process', () => {
  it('say what to do where the guest runs none, and know none that there is not', async () => {
    const tree = new MountTree({ log: () => undefined });
    const commands = new ServedCommands();
    expect(() => commands.start(tree.commands, COMMAND)).toThrow(
      expect.objectContaining(refusal('COMMANDS_OFF', undefined, /guest-setup --exec/)),
    );
    await expect(commands.output(1)).rejects.toMatchObject(refusal('NO_COMMAND'));
    expect(() => commands.signal(1, 'TERM')).toThrow(expect.objectContaining(refusal('NO_COMMAND')));
    commands.end(1);
    commands.refuseUnderWay();
  });
});
