import { describe, expect, it } from 'vitest';
import { Card } from '../../../devices/pci/topology/card.js';
import { Switch } from '../../../devices/pci/topology/switch.js';
import type { Slot } from '../../../devices/pci/topology/slot.js';
import { VENDOR_ID, testFunctions } from '../../devices/pci/topology/test-function.js';
import { PcieMachine, boot, rootPorts, turn, type Booted } from './pcie-machine.js';

const MEMORY_SPACE = 0x2;
const BLINK_MS = 5000;

function card(count: number, firstDeviceId: number): Card {
  return new Card(testFunctions(count, firstDeviceId));
}

/** What the client was told since the last look. */
function heard({ client }: Booted): string[] {
  return client.log.splice(0);
}

/** Everything under way is done; what blinks goes on. */
async function settled({ hotplug }: Booted): Promise<void> {
  await turn();
  await hotplug.idle();
}

async function blinkedOut(booted: Booted): Promise<void> {
  await settled(booted);
  booted.timers.pass(BLINK_MS);
  await settled(booted);
}

async function booted(ports = 2, options = {}) {
  const machine = new PcieMachine(rootPorts(ports));
  const guest = await boot(machine, options);
  heard(guest);
  return { machine, guest, slots: machine.complex.rootPorts.map(({ slot }) => slot) };
}

describe('hot-plug', () => {
  it('finds what is there at boot, and is not told of it again', async () => {
    const machine = new PcieMachine(rootPorts(2));
    machine.complex.rootPorts[1].slot.insert(card(2, 10));
    machine.complex.reset();
    const guest = await boot(machine);
    // The host bridge is a function too.
    expect(heard(guest)).toEqual(['added 8 10 11']);
    await settled(guest);
    expect(heard(guest)).toEqual([]);
    expect(machine.complex.rootPorts[0].slot.isPowered).toBe(false);
  });

  it('brings up a card that was put in before the guest booted, into a slot without power', async () => {
    const machine = new PcieMachine(rootPorts(1));
    machine.complex.rootPorts[0].slot.insert(card(1, 10));
    expect(heard(await boot(machine))).toEqual(['added 8', 'added 10']);
  });

  it('adds a card’s functions at once, and lets them go when the operator wants them', async () => {
    const { guest, slots } = await booted();
    slots[0].insert(card(3, 20));
    await settled(guest);
    expect(heard(guest)).toEqual(['added 20 21 22']);
    expect(slots[0].powerIndicator).toBe('on');
    const ejected: Slot[] = [];
    slots[0].listen({ ejected: (slot) => ejected.push(slot) });
    slots[0].requestEjection();
    await settled(guest);
    expect(slots[0].powerIndicator).toBe('blink');
    expect(ejected).toEqual([]);
    guest.timers.pass(BLINK_MS);
    await settled(guest);
    expect(ejected).toEqual([slots[0]]);
    expect(heard(guest)).toEqual(['wanted 20 21 22', 'released 20 21 22']);
    expect(slots[0].occupant).toBeUndefined();
    expect(guest.timers.count).toBe(0);
  });

  it('keeps a card whose request was withdrawn in time, and takes one back that was withdrawn too late', async () => {
    const { guest, slots } = await booted();
    const [slot] = slots;
    slot.insert(card(1, 20));
    await settled(guest);
    slot.requestEjection();
    await settled(guest);
    slot.withdrawEjection();
    await blinkedOut(guest);
    expect(slot.powerIndicator).toBe('on');
    expect(heard(guest)).toEqual(['added 20', 'wanted 20']);
    slot.requestEjection();
    await settled(guest);
    guest.timers.pass(BLINK_MS);
    slot.withdrawEjection();
    await settled(guest);
    expect(heard(guest)).toEqual(['wanted 20', 'released 20', 'added 20']);
    expect([slot.powerIndicator, slot.isLinkActive]).toEqual(['on', true]);
  });

  it('waits for functions in use, which are leaving meanwhile', async () => {
    const { guest, slots } = await booted();
    slots[0].insert(card(2, 20));
    await settled(guest);
    const [used, other] = [guest.client.find(20), guest.client.find(21)];
    guest.client.inUse.add(used);
    expect(guest.hotplug.isLeaving(other)).toBe(false);
    slots[0].requestEjection();
    await blinkedOut(guest);
    expect(guest.hotplug.isLeaving(other)).toBe(true);
    expect(slots[0].isLinkActive).toBe(true);
    guest.client.inUse.clear();
    guest.hotplug.released(used);
    await settled(guest);
    expect(slots[0].occupant).toBeUndefined();
    expect(heard(guest)).toEqual(['added 20 21', 'wanted 20 21', 'released 20 21']);
  });

  it('survives surprise removal, in use or not, and another card at the same place', async () => {
    const { guest, slots } = await booted();
    slots[0].insert(card(2, 20));
    await settled(guest);
    guest.client.inUse.add(guest.client.find(20));
    slots[0].remove();
    slots[0].insert(card(1, 30));
    await settled(guest);
    expect(heard(guest)).toEqual(['added 20 21', 'gone 20 21', 'added 30']);
    slots[0].remove();
    await settled(guest);
    expect(heard(guest)).toEqual(['gone 30']);
    expect(slots[0].isPowered).toBe(false);
  });

  it('sees to a power fault, and to a link that breaks and heals', async () => {
    const { guest, slots } = await booted();
    slots[0].insert(card(1, 20));
    await settled(guest);
    slots[0].failPower();
    await settled(guest);
    expect(heard(guest)).toEqual(['added 20', 'gone 20', 'added 20']);
    slots[0].breakLink();
    await turn();
    slots[0].mendLink();
    await settled(guest);
    expect(heard(guest)).toEqual(['gone 20', 'added 20']);
    slots[0].breakLink();
    await turn();
    guest.timers.pass(1000);
    await settled(guest);
    expect(heard(guest)).toEqual(['gone 20']);
    expect([slots[0].attentionIndicator, slots[0].isPowered]).toEqual(['on', false]);
    slots[0].mendLink();
    slots[0].pressAttentionButton();
    await blinkedOut(guest);
    expect(heard(guest)).toEqual(['added 20']);
    expect(slots[0].attentionIndicator).toBe('off');
  });

  it('works by the interrupt pin where a port cannot have a message', async () => {
    const { guest, machine, slots } = await booted(2, {
      interrupts: (controller: object) =>
        Object.assign(controller, { allocateMessage: () => 0x1_0000, freeMessage: () => {} }),
    });
    slots[1].insert(card(1, 20));
    await settled(guest);
    slots[1].requestEjection();
    await blinkedOut(guest);
    expect(heard(guest)).toEqual(['added 20', 'wanted 20', 'released 20']);
    expect([machine.messages, machine.line]).toEqual([0, false]);
    await guest.hotplug.stop();
    slots[1].insert(card(1, 30));
    await settled(guest);
    expect(machine.line).toBe(false);
  });

  it('stops with everything let go and nothing listening', async () => {
    const { guest, slots } = await booted();
    slots[0].insert(card(2, 20));
    await settled(guest);
    await guest.hotplug.stop();
    expect(heard(guest)).toEqual(['added 20 21', 'released 8 20 21']);
    slots[1].insert(card(1, 30));
    await settled(guest);
    expect(heard(guest)).toEqual([]);
    slots[0].requestEjection();
    expect(slots[0].occupant).toBeUndefined();
  });
});

describe('extension chassis', () => {
  it('are added while the guest runs, with and without cards, and in each other', async () => {
    const { guest, slots } = await booted();
    const outer = new Switch([11, 12]);
    const inner = new Switch([21, 22]);
    outer.slots[1].insert(card(2, 40));
    slots[0].insert(outer);
    await settled(guest);
    expect(heard(guest)).toEqual(['added 40 41']);
    outer.slots[0].insert(inner);
    await settled(guest);
    inner.slots[1].insert(card(9, 50));
    await settled(guest);
    expect(heard(guest)).toEqual(['added 50 51 52 53 54 55 56 57 58']);
    inner.slots[1].requestEjection();
    await blinkedOut(guest);
    outer.slots[0].requestEjection();
    await blinkedOut(guest);
    expect(outer.slots[0].occupant).toBeUndefined();
    expect(heard(guest).at(-1)).toBe('released 50 51 52 53 54 55 56 57 58');
  });

  it('leave as a whole, asked for or not', async () => {
    const { guest, slots } = await booted();
    const extension = new Switch([11, 12]);
    for (const [i, slot] of extension.slots.entries()) slot.insert(card(1, 60 + i));
    slots[0].insert(extension);
    await settled(guest);
    guest.client.inUse.add(guest.client.find(61));
    slots[0].requestEjection();
    await blinkedOut(guest);
    expect(slots[0].occupant).toBe(extension);
    guest.client.inUse.clear();
    guest.hotplug.released(guest.client.find(61));
    await settled(guest);
    expect(heard(guest)).toEqual(['added 60 61', 'wanted 60 61', 'released 60 61']);
    slots[1].insert(extension);
    await settled(guest);
    slots[1].remove();
    await settled(guest);
    expect(heard(guest)).toEqual(['added 60 61', 'gone 60 61']);
    expect(guest.timers.count).toBe(0);
  });

  it('that are pulled out while a card in them blinks leave no timer and no driver behind', async () => {
    const { guest, slots } = await booted();
    const extension = new Switch([11]);
    const [inner] = extension.slots;
    inner.insert(card(1, 60));
    slots[0].insert(extension);
    await settled(guest);
    inner.requestEjection();
    await settled(guest);
    expect(guest.timers.count).toBe(1);
    slots[0].remove();
    await settled(guest);
    expect(guest.timers.count).toBe(0);
    expect(heard(guest)).toEqual(['added 60', 'wanted 60', 'gone 60']);
    expect(inner.occupant).toBeUndefined();
  });

  it('that there are no bus numbers for stay closed, without harm to the rest', async () => {
    const { guest, slots } = await booted(64);
    // 64 root ports have three numbers each: the link, the inside of the switch, and one of its slots.
    const extension = new Switch([101, 102]);
    extension.slots[0].insert(card(1, 70));
    extension.slots[1].insert(card(1, 71));
    slots[0].insert(extension);
    slots[1].insert(card(1, 72));
    await settled(guest);
    expect(heard(guest)).toEqual(['added 70', 'added 72']);
  });
});

describe('a thousand functions', () => {
  const SWITCHES = 4;
  const SLOTS = 32;
  const FUNCTIONS = 8;

  it('are plugged in through switches, driven, and taken out again', async () => {
    const { guest, machine, slots } = await booted(SWITCHES);
    const extensions = slots.map(
      (_, i) => new Switch(Array.from({ length: SLOTS }, (_, k) => 100 + SLOTS * i + k)),
    );
    for (const [i, slot] of slots.entries()) slot.insert(extensions[i]);
    await settled(guest);
    const inner = extensions.flatMap((each) => each.slots).slice(0, 125);
    for (const [i, slot] of inner.entries()) {
      slot.insert(card(FUNCTIONS, 1000 + FUNCTIONS * i));
      if (i % 10 === 0) await settled(guest);
    }
    await settled(guest);

    const found = [...guest.client.present].filter(({ vendorId }) => vendorId === VENDOR_ID);
    expect(found.map(({ deviceId }) => deviceId).sort((a, b) => a - b)).toEqual(
      Array.from({ length: 1000 }, (_, i) => 1000 + i),
    );
    for (const fn of found) fn.config.setCommand(0, MEMORY_SPACE);
    for (const { deviceId, bars } of found) {
      for (const { address = 0 } of bars) machine.complex.writeMemory(address + 16, 4, deviceId * 3);
    }
    const wrong = found.filter(({ deviceId, bars, config }) => {
      const reads = bars.map(({ address = 0 }) => machine.complex.readMemory(address + 16, 4));
      return (
        config.read(2, 2) !== deviceId || bars.length !== 2 || reads.some((value) => value !== deviceId * 3)
      );
    });
    expect(wrong).toEqual([]);

    for (const slot of inner.slice(0, 100)) slot.requestEjection();
    for (const slot of inner.slice(100, 110)) slot.remove();
    await blinkedOut(guest);
    expect(inner.slice(0, 110).filter(({ occupant }) => occupant !== undefined)).toEqual([]);
    const left = [...guest.client.present].filter(({ vendorId }) => vendorId === VENDOR_ID);
    expect(left).toHaveLength(15 * FUNCTIONS);
    for (const { deviceId, bars } of left)
      expect(machine.complex.readMemory((bars[0].address ?? 0) + 16, 4)).toBe(deviceId * 3);
    for (const slot of slots) slot.requestEjection();
    await blinkedOut(guest);
    expect([...guest.client.present].map(({ name }) => name)).toEqual(['0000:00:00.0']);
    expect(guest.timers.count).toBe(0);
    expect([...machine.complex.slots()]).toHaveLength(SWITCHES);
  });

  it('are no concern of each other: what is done to one asks nothing of those elsewhere', async () => {
    const { guest, slots } = await booted(4);
    let asked = 0;
    const counting = testFunctions(FUNCTIONS, 50);
    for (const { function: fn } of counting) {
      const readConfig = fn.readConfig.bind(fn);
      fn.readConfig = (offset, width) => {
        asked++;
        return readConfig(offset, width);
      };
    }
    slots[0].insert(new Card(counting));
    await settled(guest);
    const before = asked;
    slots[1].insert(card(FUNCTIONS, 1000));
    await settled(guest);
    const other = guest.client.find(1000);
    other.config.setCommand(0, MEMORY_SPACE);
    guest.machine.complex.readMemory(other.bars[0].address ?? 0, 4);
    slots[1].remove();
    await settled(guest);
    expect(asked).toBe(before);
  });
});
