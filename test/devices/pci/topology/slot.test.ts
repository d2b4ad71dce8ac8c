import { describe, expect, it } from 'vitest';
import { Card } from '../../../../devices/pci/topology/card.js';
import type { Slot } from '../../../../devices/pci/topology/slot.js';
import { ALL_ONES, Bench, INTX_DISABLE, LNKCTL, LNKSTA, MASTER, MSI, SLTCTL, SLTSTA } from './machine.js';
import {
  PORT,
  FN,
  ABP,
  PFD,
  PDC,
  CC,
  PDS,
  DLLSC,
  DLLLA,
  ENABLES,
  ALL_ENABLES,
  PIC_ON,
  PIC_BLINK,
  PIC_OFF,
  PCC_OFF,
  AIC_OFF,
  bench,
  inUse,
  enableMsi,
} from './slot-bench.js';
import { TestFunction } from './test-function.js';

describe('a slot at power-on', () => {
  it('has no power while it is empty', () => {
    const { slot, status, control } = bench();
    expect(status()).toBe(0);
    expect(control()).toBe(AIC_OFF | PIC_OFF | PCC_OFF);
    expect([slot.isPowered, slot.isLinkActive, slot.powerIndicator]).toEqual([false, false, 'off']);
  });

  it('has power and a link where a card is in it, and tells of no event', () => {
    const { slot, card, machine, status, control, fn } = bench();
    slot.insert(card);
    machine.complex.reset();
    expect(status()).toBe(PDS);
    expect(control()).toBe(AIC_OFF | PIC_ON);
    expect(machine.read(PORT, LNKSTA, 2)).toBe(0x11 | DLLLA);
    expect(fn.port).toBeDefined();
    expect(slot.powerIndicator).toBe('on');
  });
});

describe('a card', () => {
  it('that is put in is announced, and has no power before the guest gives it some', () => {
    const { slot, card, machine, fn, status, command, clear } = bench();
    slot.insert(card);
    expect(status()).toBe(PDS | PDC | ABP);
    expect(machine.id(FN)).toBe(ALL_ONES);
    expect(fn.connects).toBe(0);
    clear();
    command(PIC_BLINK);
    expect(status()).toBe(PDS | CC | DLLSC);
    expect(machine.read(PORT, LNKSTA, 2) & DLLLA).toBe(DLLLA);
    expect(machine.id(FN)).toBe(0x0031_1234);
    expect(fn.connects).toBe(1);
  });

  it('has its link at once in a slot that has power', () => {
    const { slot, card, machine, status, command, clear } = bench();
    command(PIC_OFF);
    clear();
    slot.insert(card);
    expect(status()).toBe(PDS | PDC | ABP | DLLSC);
    expect(machine.id(FN)).toBe(0x0031_1234);
  });

  it('loses its registers and connection with the power', () => {
    const { machine, fn, status, command } = inUse();
    const { resets } = fn;
    command(PIC_OFF | PCC_OFF | ALL_ENABLES);
    expect(status()).toBe(PDS | CC | DLLSC);
    expect(machine.id(FN)).toBe(ALL_ONES);
    expect(fn.port).toBeUndefined();
    expect(fn.resets).toBe(resets + 1);
  });

  it('that is pulled out is gone at once, and told of', () => {
    const { slot, card, machine, fn, status } = inUse();
    expect(slot.remove()).toBe(card);
    expect(status()).toBe(PDC | DLLSC);
    expect(machine.id(FN)).toBe(ALL_ONES);
    expect(machine.read(PORT, LNKSTA, 2) & DLLLA).toBe(0);
    expect(fn.port).toBeUndefined();
    expect(slot.remove()).toBeUndefined();
    slot.insert(card);
    expect(fn.port).toBeDefined();
  });

  it('fits one slot at a time, and a slot one card', () => {
    const machine = new Bench(2);
    const card = new Card([{ number: 0, function: new TestFunction(1) }]);
    machine.slot(0).insert(card);
    expect(() => machine.slot(1).insert(card)).toThrow('it sits in slot 1');
    const other = new Card([{ number: 0, function: new TestFunction(2) }]);
    expect(() => machine.slot(0).insert(other)).toThrow('slot 1 is taken');
    expect(other.seat).toBeUndefined();
    machine.slot(0).remove();
    machine.slot(1).insert(card);
    expect(card.seat).toBe(machine.slot(1));
  });

  it('is cut off by the link control’s disable bit', () => {
    const { machine, status, clear } = inUse();
    machine.write(PORT, LNKCTL, 2, 0x10);
    expect(machine.id(FN)).toBe(ALL_ONES);
    expect(status()).toBe(PDS | DLLSC);
    clear();
    machine.write(PORT, LNKCTL, 2, 0);
    expect(machine.id(FN)).toBe(0x0031_1234);
    expect(status()).toBe(PDS | DLLSC);
  });

  it('stays present while its link is broken, and comes back reset', () => {
    const { slot, machine, fn, status } = inUse();
    slot.breakLink();
    expect(status()).toBe(PDS | DLLSC);
    expect(machine.id(FN)).toBe(ALL_ONES);
    const { resets } = fn;
    slot.mendLink();
    expect(fn.resets).toBe(resets + 1);
    expect(machine.id(FN)).toBe(0x0031_1234);
  });
});

describe('the power controller', () => {
  it('keeps a slot that had a fault without power before it was switched off and on', () => {
    const { slot, machine, status, command, clear } = inUse();
    slot.failPower();
    expect(status()).toBe(PDS | PFD | DLLSC);
    expect(slot.isPowered).toBe(false);
    clear();
    command(PIC_ON);
    expect(machine.id(FN)).toBe(ALL_ONES);
    command(PIC_OFF | PCC_OFF);
    command(PIC_BLINK);
    expect(slot.isPowered).toBe(true);
    expect(machine.id(FN)).toBe(0x0031_1234);
  });

  it('has no fault in a slot without power', () => {
    const { slot, status } = bench();
    slot.failPower();
    expect(status()).toBe(0);
  });
});

describe('commands', () => {
  it.each([
    [SLTCTL, 1],
    [SLTCTL + 1, 1],
    [SLTCTL, 2],
    [SLTCTL, 4],
  ] as const)('are completed whatever they say (0x%s, width %i)', (offset, width) => {
    const { machine, status } = bench();
    machine.write(PORT, offset, width, 0);
    expect(status()).toBe(CC);
  });

  it('are what reaches slot control, and not what clears slot status', () => {
    const { machine, status } = bench();
    machine.write(PORT, SLTSTA, 2, 0xffff);
    machine.write(PORT, SLTSTA + 1, 1, 0xff);
    expect(status()).toBe(0);
  });

  it('show on the indicators, and their listener hears of changes', () => {
    const { slot, command } = bench();
    const seen: string[] = [];
    slot.listen({
      changed: ({ attentionIndicator, powerIndicator }) =>
        seen.push(`${attentionIndicator} ${powerIndicator}`),
    });
    command(PIC_BLINK | AIC_OFF | PCC_OFF);
    command(PIC_BLINK | AIC_OFF | PCC_OFF);
    command(PIC_ON | 0x40);
    command(0x80);
    command(0x80 | ENABLES.HPIE);
    expect(seen).toEqual(['off blink', 'on on', 'blink off']);
  });
});

describe('slot status', () => {
  it('is cleared by writing 1, an event at a time; presence is read-only', () => {
    const { slot, card, status, clear } = bench();
    slot.insert(card);
    clear(0);
    expect(status()).toBe(PDS | PDC | ABP);
    clear(ABP | PDS);
    expect(status()).toBe(PDS | PDC);
    clear(PDC);
    expect(status()).toBe(PDS);
  });
});

describe('interrupts', () => {
  it('are a message as the first enabled event comes, and none before all were cleared', () => {
    const { slot, machine, clear } = inUse();
    enableMsi(machine);
    slot.pressAttentionButton();
    slot.pressAttentionButton();
    slot.breakLink();
    expect(machine.messages).toEqual([[0xfee0_0000, 0x30]]);
    clear(ABP);
    slot.pressAttentionButton();
    expect(machine.messages).toHaveLength(1);
    clear();
    expect(machine.messages).toHaveLength(1);
    slot.pressAttentionButton();
    expect(machine.messages).toHaveLength(2);
    expect(machine.line).toEqual([]);
  });

  it('come for enabled events only', () => {
    const events: [number, (slot: Slot) => void][] = [
      [ENABLES.ABPE, (slot) => slot.pressAttentionButton()],
      [ENABLES.PFDE, (slot) => slot.failPower()],
      [ENABLES.PDCE, (slot) => void slot.remove()],
      [ENABLES.DLLSCE, (slot) => slot.breakLink()],
    ];
    for (const [enable, cause] of events) {
      for (const [bits, expected] of [
        [enable | ENABLES.HPIE, 1],
        [enable, 0],
        [ENABLES.HPIE, 0],
      ]) {
        const { slot, machine, command, clear } = inUse();
        command(AIC_OFF | PIC_ON | bits);
        clear();
        enableMsi(machine);
        cause(slot);
        expect(machine.messages, `enables 0x${bits.toString(16)}`).toHaveLength(expected);
      }
    }
  });

  it('come for completed commands where that is enabled', () => {
    const { machine, command } = bench();
    enableMsi(machine);
    command(ENABLES.HPIE);
    expect(machine.messages).toHaveLength(0);
    command(ENABLES.HPIE | ENABLES.CCIE);
    expect(machine.messages).toHaveLength(1);
  });

  it('come as an event that waited is enabled, or as messages or bus mastering are', () => {
    const { slot, machine, command } = inUse();
    command(AIC_OFF | PIC_ON | ENABLES.HPIE);
    slot.pressAttentionButton();
    enableMsi(machine);
    command(AIC_OFF | PIC_ON | ENABLES.HPIE | ENABLES.ABPE);
    expect(machine.messages).toHaveLength(1);
    machine.write(PORT, MSI + 2, 2, 0);
    machine.write(PORT, MSI + 2, 2, 1);
    expect(machine.messages).toHaveLength(2);
    machine.setCommand(PORT, 0);
    machine.setCommand(PORT, MASTER);
    expect(machine.messages).toHaveLength(3);
  });

  it('are the pin while messages are not enabled, for as long as an event is pending', () => {
    const { slot, machine, clear } = inUse();
    slot.pressAttentionButton();
    expect(machine.line).toEqual([true]);
    expect(machine.read(PORT, 0x06, 2) & 0x8).toBe(0x8);
    machine.setCommand(PORT, INTX_DISABLE);
    expect(machine.line).toEqual([true, false]);
    expect(machine.read(PORT, 0x06, 2) & 0x8).toBe(0x8);
    machine.setCommand(PORT, 0);
    clear();
    expect(machine.line).toEqual([true, false, true, false]);
    expect(machine.read(PORT, 0x06, 2) & 0x8).toBe(0);
    slot.pressAttentionButton();
    enableMsi(machine);
    expect(machine.line).toEqual([true, false, true, false, true, false]);
  });

  it('end with a reset', () => {
    const { slot, machine } = inUse();
    slot.pressAttentionButton();
    machine.complex.reset();
    expect(machine.line).toEqual([true, false]);
  });
});
