import { describe, expect, it } from 'vitest';
import { ABP } from './fake-slot-port.js';
import { turn } from './pcie-machine.js';
import { OFF, ON, slot } from './pciehp-fixture.js';

describe('the attention button', () => {
  it('has the slot blink for five seconds, then lets it go', async () => {
    const { port, board, timers, driver } = await slot('on');
    port.raise(ABP);
    await driver.idle();
    expect(driver.state).toBe('blinking-off');
    expect(driver.isLeaving).toBe(true);
    expect(timers.due).toEqual([5000]);
    expect(board.log).toEqual(['wanted']);
    timers.pass(4999);
    await driver.idle();
    expect(driver.state).toBe('blinking-off');
    timers.pass(1);
    await driver.idle();
    expect(driver.state).toBe('off');
    expect(board.log).toEqual(['wanted', 'let go']);
    expect(port.commands).toEqual([
      'power, attention off, indicator blink',
      'no power, attention off, indicator blink',
      OFF,
    ]);
    expect(timers.count).toBe(0);
  });

  it('takes a press back with another', async () => {
    const { port, board, timers, driver } = await slot('on');
    port.raise(ABP);
    await driver.idle();
    port.raise(ABP);
    await driver.idle();
    expect(driver.state).toBe('on');
    expect(driver.isLeaving).toBe(false);
    expect(timers.count).toBe(0);
    expect(port.commands.at(-1)).toBe(ON);
    expect(board.log).toEqual(['wanted']);
  });

  it('powers a slot up in the same way', async () => {
    const { port, board, timers, driver } = await slot('empty');
    port.isPresent = true;
    port.raise(ABP);
    await driver.idle();
    expect(driver.state).toBe('blinking-on');
    port.raise(ABP);
    await driver.idle();
    expect([driver.state, timers.count]).toEqual(['off', 0]);
    port.raise(ABP);
    await driver.idle();
    timers.pass(5000);
    await driver.idle();
    expect(driver.state).toBe('on');
    expect(board.log).toEqual(['configure']);
    expect(port.commands.at(-1)).toBe(ON);
  });

  it('goes dark again over an empty slot', async () => {
    const { port, board, timers, driver } = await slot('empty');
    port.raise(ABP);
    await driver.idle();
    timers.pass(5000);
    await driver.idle();
    expect(driver.state).toBe('off');
    expect(port.commands.at(-1)).toBe(OFF);
    expect(board.log).toEqual([]);
  });

  it('does nothing while power is switched on', async () => {
    const { port, driver } = await slot('empty', { port: { links: false } });
    port.insert();
    await turn();
    expect(driver.state).toBe('power-on');
    port.raise(ABP);
    port.setLink(true);
    await driver.idle();
    expect(driver.state).toBe('on');
  });

  it('blinks for as long as it is told to', async () => {
    const { port, timers, driver } = await slot('on', { blinkMs: 7 });
    port.raise(ABP);
    await driver.idle();
    expect(timers.due).toEqual([7]);
  });
});

describe('a board in use', () => {
  it('is let go once it is released', async () => {
    const { port, board, timers, driver } = await slot('on');
    board.isInUse = true;
    driver.released();
    port.raise(ABP);
    await driver.idle();
    driver.released();
    timers.pass(5000);
    await driver.idle();
    expect(driver.state).toBe('blinking-off');
    driver.released();
    await driver.idle();
    expect(driver.state).toBe('blinking-off');
    board.isInUse = false;
    driver.released();
    await driver.idle();
    expect(driver.state).toBe('off');
    expect(board.log).toEqual(['wanted', 'let go']);
  });

  it('stays if the button is pressed again, released or not', async () => {
    const { port, board, timers, driver } = await slot('on');
    board.isInUse = true;
    port.raise(ABP);
    await driver.idle();
    timers.pass(5000);
    await driver.idle();
    port.raise(ABP);
    await driver.idle();
    board.isInUse = false;
    driver.released();
    await driver.idle();
    expect(driver.state).toBe('on');
    expect(port.isPowered).toBe(true);
    expect(board.log).toEqual(['wanted']);
  });

  it('does not keep a slot whose card was pulled out', async () => {
    const { port, board, timers, driver } = await slot('on');
    board.isInUse = true;
    port.raise(ABP);
    await driver.idle();
    timers.pass(5000);
    await driver.idle();
    port.remove();
    await driver.idle();
    expect(driver.state).toBe('off');
    expect(board.log).toEqual(['wanted', 'gone']);
  });
});

describe('a change of presence', () => {
  it('powers up a card that was put in at once, though the button was pressed with it', async () => {
    const { port, board, timers, driver } = await slot('empty');
    port.insert();
    await driver.idle();
    expect(driver.state).toBe('on');
    expect(board.log).toEqual(['configure']);
    expect(port.commands).toEqual(['power, attention off, indicator blink', ON]);
    expect(timers.count).toBe(0);
  });

  it('means that the board is gone', async () => {
    const { port, board, driver } = await slot('on');
    port.remove();
    await driver.idle();
    expect(driver.state).toBe('off');
    expect(board.log).toEqual(['gone']);
    expect(port.commands).toEqual(['no power, attention off, indicator on', OFF]);
  });

  it('means that another board is there, where one is', async () => {
    const { port, board, driver } = await slot('on');
    port.remove();
    port.insert();
    await driver.idle();
    expect(driver.state).toBe('on');
    expect(board.log).toEqual(['gone', 'configure']);
  });

  it('is seen to after what is under way: nothing overlaps', async () => {
    const { port, board, driver } = await slot('on');
    let open: () => void = () => {};
    board.gate = new Promise((resolve) => (open = resolve));
    port.remove();
    await turn();
    port.insert();
    await turn();
    expect(board.log).toEqual(['gone']);
    board.gate = undefined;
    open();
    await driver.idle();
    expect(board.log).toEqual(['gone', 'configure']);
    expect(driver.state).toBe('on');
  });

  it('while a board is configured is seen to afterwards', async () => {
    const { port, board, driver } = await slot('empty');
    let open: () => void = () => {};
    board.gate = new Promise((resolve) => (open = resolve));
    port.insert();
    await turn();
    expect(board.log).toEqual(['configure']);
    port.remove();
    await turn();
    board.gate = undefined;
    open();
    await driver.idle();
    expect(board.log).toEqual(['configure', 'gone']);
    expect(driver.state).toBe('off');
  });

  it('while the link is waited for is not lost: the card that is there now is tried', async () => {
    const { port, board, driver } = await slot('empty', { port: { links: false } });
    port.insert();
    await turn();
    port.remove();
    port.links = true;
    port.insert();
    await driver.idle();
    expect([driver.state, board.log]).toEqual(['on', ['configure']]);
  });

  it('while power goes is not lost either', async () => {
    const { port, board, timers, driver } = await slot('on', { powerOffMs: 1000, blinkMs: 5 });
    port.raise(ABP);
    await driver.idle();
    timers.pass(5);
    await turn();
    expect(driver.state).toBe('power-off');
    port.remove();
    port.insert();
    timers.pass(1000);
    await driver.idle();
    expect([driver.state, board.log]).toEqual(['on', ['wanted', 'let go', 'configure']]);
  });

  it('ends the blinking, of a slot on its way up or down', async () => {
    const { port, board, timers, driver } = await slot('on');
    port.raise(ABP);
    await driver.idle();
    port.remove();
    await driver.idle();
    port.raise(ABP);
    await driver.idle();
    expect(driver.state).toBe('blinking-on');
    port.insert();
    await driver.idle();
    expect(driver.state).toBe('on');
    expect(timers.count).toBe(0);
    expect(board.log).toEqual(['wanted', 'gone', 'configure']);
  });
});
