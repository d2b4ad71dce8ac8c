import { describe, expect, it } from 'vitest';
import { Card } from '../../../../devices/pci/topology/card.js';
import type { Occupant } from '../../../../devices/pci/topology/slot.js';
import { Switch } from '../../../../devices/pci/topology/switch.js';
import { SLTCTL } from './machine.js';
import {
  PORT,
  ABP,
  PDC,
  CC,
  PDS,
  ENABLES,
  ALL_ENABLES,
  PIC_ON,
  PIC_BLINK,
  PIC_OFF,
  PCC_OFF,
  bench,
  inUse,
} from './slot-bench.js';
import { TestFunction } from './test-function.js';

describe('an ejection', () => {
  it('is immediate where no guest listens', () => {
    const { slot, command, ejected, card } = inUse();
    command(PIC_ON | ENABLES.HPIE);
    slot.requestEjection();
    expect(ejected).toEqual([card]);
    expect(slot.occupant).toBeUndefined();
    expect(() => slot.requestEjection()).toThrow('slot 1 is empty');
  });

  it('is immediate where the guest never gave the slot power', () => {
    const { slot, card, command, status } = bench();
    const ejected: Occupant[] = [];
    slot.listen({ ejected: (_, occupant) => ejected.push(occupant) });
    command(PIC_OFF | PCC_OFF | ALL_ENABLES);
    slot.insert(card);
    slot.requestEjection();
    expect(ejected).toEqual([card]);
    expect(status() & PDS).toBe(0);
  });

  it('presses the button, and takes the card out once power is off and the indicator dark', () => {
    const { slot, status, command, clear, ejected, card, fn } = inUse();
    slot.requestEjection();
    slot.requestEjection();
    expect(status()).toBe(PDS | ABP);
    expect(slot.isEjecting).toBe(true);
    clear();
    command(PIC_BLINK | ALL_ENABLES);
    command(PIC_BLINK | PCC_OFF | ALL_ENABLES);
    expect(ejected).toEqual([]);
    expect(fn.port).toBeUndefined();
    clear();
    command(PIC_OFF | PCC_OFF | ALL_ENABLES);
    expect(ejected).toEqual([card]);
    expect(status()).toBe(CC | PDC);
    expect(slot.isEjecting).toBe(false);
    expect(card.seat).toBeUndefined();
  });

  it('that is taken back presses again while the guest blinks, and not before', () => {
    const { slot, status, command, clear, ejected } = inUse();
    slot.requestEjection();
    slot.withdrawEjection();
    expect(slot.isEjecting).toBe(false);
    clear();
    expect(status() & ABP).toBe(0);
    command(PIC_BLINK | ALL_ENABLES);
    expect(status() & ABP).toBe(ABP);
    clear();
    command(PIC_ON | ALL_ENABLES);
    expect(status() & ABP).toBe(0);
    expect(ejected).toEqual([]);
  });

  it('that comes too late shows the guest the card again', () => {
    const { slot, status, command, clear, ejected, card } = inUse();
    slot.requestEjection();
    clear();
    command(PIC_BLINK | ALL_ENABLES);
    slot.withdrawEjection();
    clear();
    command(PIC_BLINK | PCC_OFF | ALL_ENABLES);
    clear();
    command(PIC_OFF | PCC_OFF | ALL_ENABLES);
    expect(status()).toBe(PDS | CC | PDC | ABP);
    expect(slot.occupant).toBe(card);
    expect(ejected).toEqual([]);
  });

  it('waits for a guest that is at work on the slot before it presses', () => {
    const { slot, card, command, clear, status } = bench();
    command(PIC_OFF | PCC_OFF | ALL_ENABLES);
    slot.insert(card);
    clear();
    command(PIC_BLINK | ALL_ENABLES);
    clear();
    slot.requestEjection();
    expect(status() & ABP).toBe(0);
    command(PIC_ON | ALL_ENABLES);
    expect(status() & ABP).toBe(ABP);
  });

  it('is met by pulling the card out', () => {
    const { slot, ejected, card } = inUse();
    slot.requestEjection();
    slot.remove();
    expect(ejected).toEqual([card]);
    expect(slot.isEjecting).toBe(false);
  });

  it('comes about with a reset: the guest that was asked is no more', () => {
    const { slot, machine, ejected, card } = inUse();
    slot.requestEjection();
    machine.complex.reset();
    expect(ejected).toEqual([card]);
    expect(slot.occupant).toBeUndefined();
    expect(slot.isPowered).toBe(false);
  });

  it('lets its listener put another card in', () => {
    const { slot, command, fn } = inUse();
    const next = new Card([{ number: 0, function: new TestFunction(0x32) }]);
    slot.listen({ ejected: () => slot.insert(next) });
    command(PIC_ON);
    slot.requestEjection();
    expect(slot.occupant).toBe(next);
    expect(slot.isLinkActive).toBe(true);
    expect(fn.port).toBeUndefined();
  });
});

describe('an extension chassis', () => {
  it('takes cards before it is plugged in, and powers them with itself', () => {
    const { slot, machine, command } = bench();
    const fn = new TestFunction(5);
    const extension = new Switch([21, 22]);
    extension.slots[0].insert(new Card([{ number: 0, function: fn }]));
    expect(fn.connects).toBe(0);
    slot.insert(extension);
    command(PIC_ON);
    expect(fn.connects).toBe(1);
    expect([...machine.complex.slots()].map((each) => each.physicalSlotNumber)).toEqual([1, 21, 22]);
    slot.remove();
    expect(fn.port).toBeUndefined();
    expect(extension.slots[0].occupant).toBeDefined();
    expect([...machine.complex.slots()]).toHaveLength(1);
  });

  it('that leaves with an ejection pending in one of its slots gives that card back', () => {
    const { slot, machine, command } = bench();
    const extension = new Switch([21]);
    const card = new Card([{ number: 0, function: new TestFunction(5) }]);
    const [inner] = extension.slots;
    const ejected: Occupant[] = [];
    inner.listen({ ejected: (_, occupant) => ejected.push(occupant) });
    inner.insert(card);
    slot.insert(extension);
    command(PIC_ON);
    machine.setBusNumbers(PORT, 0, 1, 3);
    machine.setBusNumbers([1, 0, 0], 1, 2, 3);
    machine.write([2, 0, 0], SLTCTL, 2, PIC_ON | ALL_ENABLES);
    inner.requestEjection();
    expect(ejected).toEqual([]);
    slot.remove();
    expect(ejected).toEqual([card]);
  });

  it('has 1 to 32 slots', () => {
    expect(() => new Switch([])).toThrow(RangeError);
    expect(() => new Switch(Array.from({ length: 33 }, (_, i) => i + 1))).toThrow(RangeError);
    expect(new Switch(Array.from({ length: 32 }, (_, i) => i + 1)).slots).toHaveLength(32);
  });
});
