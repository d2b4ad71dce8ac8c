import { describe, expect, it } from 'vitest';
import { PciehpSlot } from '../../../guest/pci/pciehp.js';
import { ABP, CC, DLLSC, FakeSlotPort, PDC, PFD } from './fake-slot-port.js';
import { ManualTimers } from './manual-timers.js';
import { turn } from './pcie-machine.js';
import { FAILED, FakeBoard, OFF, ON, slot } from './pciehp-fixture.js';

describe('the link', () => {
  it('that breaks means that the board is gone', async () => {
    const { port, board, driver } = await slot('on');
    port.setLink(false);
    await turn();
    expect(board.log).toEqual(['gone']);
    expect(driver.state).toBe('power-on');
  });

  it('is waited for, and told from the event that says so', async () => {
    const { port, board, timers, driver } = await slot('empty', { port: { links: false } });
    port.insert();
    await turn();
    expect([driver.state, timers.due, board.log]).toEqual(['power-on', [1000], []]);
    port.setLink(true);
    await driver.idle();
    expect([driver.state, timers.count, board.log]).toEqual(['on', 0, ['configure']]);
  });

  it('that does not come up leaves the slot without power, with its attention indicator lit', async () => {
    const { port, board, timers, driver } = await slot('empty', { port: { links: false } });
    port.insert();
    await turn();
    timers.pass(1000);
    await driver.idle();
    expect([driver.state, board.log]).toEqual(['off', []]);
    expect(port.commands.at(-1)).toBe(FAILED);
    port.links = true;
    port.raise(ABP);
    await driver.idle();
    timers.pass(5000);
    await driver.idle();
    expect(driver.state).toBe('on');
    expect(port.commands.at(-1)).toBe(ON);
  });

  it('is not waited for once the card is pulled out', async () => {
    const { port, timers, driver } = await slot('empty', { port: { links: false } });
    port.insert();
    await turn();
    port.remove();
    await driver.idle();
    expect([driver.state, timers.count]).toEqual(['off', 0]);
  });

  it('to a board that does not answer is given up', async () => {
    const { port, board, driver } = await slot('empty');
    board.answers = false;
    port.insert();
    await driver.idle();
    expect(driver.state).toBe('off');
    expect(port.commands.at(-1)).toBe(FAILED);
  });
});

describe('a power fault', () => {
  it('in use costs the board, which is powered up anew', async () => {
    const { port, board, driver } = await slot('on');
    port.isLinkActive = false;
    port.raise(PFD | DLLSC);
    await driver.idle();
    expect(port.commands[0]).toBe('power, attention on, indicator off');
    expect(board.log).toEqual(['gone', 'configure']);
    expect(driver.state).toBe('on');
    expect(port.commands.at(-1)).toBe(ON);
  });

  it('while power is switched on ends in the attention indicator', async () => {
    const { port, board, driver } = await slot('empty', { port: { links: false } });
    port.insert();
    await turn();
    port.raise(PFD);
    port.setLink(true);
    await driver.idle();
    expect(driver.state).toBe('off');
    expect(board.log).toEqual([]);
    expect(port.commands.at(-1)).toBe(FAILED);
  });
});

describe('commands', () => {
  it('wait for the port to say that they are completed, and for a second at most', async () => {
    const { port, timers, driver } = await slot('on');
    port.completes = false;
    port.raise(ABP);
    await turn();
    expect(timers.due).toEqual([1000]);
    port.raise(CC);
    await driver.idle();
    expect(timers.due).toEqual([5000]);
    port.raise(ABP);
    await turn();
    expect(timers.due).toEqual([1000]);
    timers.pass(1000);
    await driver.idle();
    expect([driver.state, timers.count]).toEqual(['on', 0]);
  });

  it('of a port that never says so are not waited for', async () => {
    const NO_COMMAND_COMPLETED = 1 << 18;
    const { port, timers, driver } = await slot('empty', {
      port: { capabilities: NO_COMMAND_COMPLETED | 0x7b, completes: false },
    });
    port.insert();
    await driver.idle();
    expect([driver.state, timers.count]).toEqual(['on', 0]);
  });

  it('leave the bits of others alone', async () => {
    const { port, driver } = await slot('on');
    expect(port.enabled).toBe(0x103b);
    port.raise(ABP);
    await driver.idle();
    expect(port.enabled).toBe(0x103b);
  });
});

describe('powering down', () => {
  it('waits until the power is gone before the indicator says so', async () => {
    const { port, timers, driver } = await slot('on', { powerOffMs: 1000 });
    port.remove();
    await turn();
    expect([driver.state, timers.due, port.commands.at(-1)]).toEqual([
      'power-off',
      [1000],
      'no power, attention off, indicator on',
    ]);
    timers.pass(1000);
    await driver.idle();
    expect([driver.state, port.commands.at(-1)]).toEqual(['off', OFF]);
  });
});

describe('listening', () => {
  it('forgets what happened before, and sees to what happens until it begins', async () => {
    const port = new FakeSlotPort();
    Object.assign(port, { isPresent: true, isLinkActive: true, control: 0x1c0 });
    port.raise(PDC | ABP | DLLSC);
    const board = new FakeBoard();
    const driver = new PciehpSlot(port.registers, board, { timers: new ManualTimers(), powerOffMs: 0 });
    port.interrupt = () => void driver.interrupt();
    driver.listen(true);
    port.remove();
    await turn();
    expect([driver.state, board.log]).toEqual(['on', []]);
    driver.begin();
    await driver.idle();
    expect([driver.state, board.log]).toEqual(['off', ['gone']]);
  });

  it('takes the power off an empty slot, and brings a card up that nobody found', async () => {
    const { port, driver } = await slot('empty', { port: { control: 0x1c0 } });
    expect([driver.state, port.isPowered]).toEqual(['off', false]);
    const other = await slot('empty', { port: { isPresent: true } });
    expect([other.driver.state, other.board.log]).toEqual(['on', ['configure']]);
  });

  it('that ends while a slot is powered up does not take the board into use any more', async () => {
    const { port, board, timers, driver } = await slot('empty', { port: { completes: false } });
    timers.pass(1000);
    await driver.idle();
    port.insert();
    await turn();
    expect([driver.state, port.isLinkActive]).toEqual(['power-on', true]);
    await driver.stop();
    expect([timers.count, board.log]).toEqual([0, []]);
  });

  it('ends in the middle of anything, with no timer left and no notification enabled', async () => {
    const { port, board, timers, driver } = await slot('empty', { port: { links: false } });
    port.insert();
    await turn();
    await driver.stop();
    expect([timers.count, port.enabled, board.log]).toEqual([0, 0, []]);
    const blinking = await slot('on');
    blinking.port.raise(ABP);
    await blinking.driver.idle();
    await blinking.driver.stop();
    expect(blinking.timers.count).toBe(0);
    blinking.port.raise(PDC);
    await turn();
    expect(blinking.board.log).toEqual(['wanted']);
  });
});

describe('an interrupt', () => {
  it('is nobody’s where nothing has happened, or the port is gone', async () => {
    const { port, driver } = await slot('on');
    expect(driver.interrupt()).toBe(false);
    port.isGone = true;
    expect(driver.interrupt()).toBe(false);
    expect(driver.state).toBe('on');
  });

  it('of a port that never stops does not keep the guest', async () => {
    const { port, driver } = await slot('on');
    port.isStuck = true;
    port.raise(CC);
    expect(driver.interrupt()).toBe(true);
    expect(driver.state).toBe('on');
  });
});
