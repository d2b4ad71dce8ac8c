/** A root port with a slot, worked by hand from both sides. */
import { Card } from '../../../../devices/pci/topology/card.js';
import type { Occupant } from '../../../../devices/pci/topology/slot.js';
import { Bench, MASTER, MSI, SLTCTL, SLTSTA, type Address } from './machine.js';
import { TestFunction } from './test-function.js';

export const PORT: Address = [0, 1, 0];
export const FN: Address = [1, 0, 0];

export const ABP = 0x1;
export const PFD = 0x2;
export const PDC = 0x8;
export const CC = 0x10;
export const PDS = 0x40;
export const DLLSC = 0x100;
export const DLLLA = 0x2000;

export const ENABLES = { ABPE: 0x1, PFDE: 0x2, PDCE: 0x8, CCIE: 0x10, HPIE: 0x20, DLLSCE: 0x1000 } as const;
export const ALL_ENABLES = 0x103b;
export const PIC_ON = 0x100;
export const PIC_BLINK = 0x200;
export const PIC_OFF = 0x300;
export const PCC_OFF = 0x400;
export const AIC_OFF = 0xc0;

/** A root port on bus 0 with bus 1 below, and a card that is not in its slot yet. */
export function bench() {
  const machine = new Bench(1);
  machine.setBusNumbers(PORT, 0, 1, 1);
  const fn = new TestFunction(0x31);
  const card = new Card([{ number: 0, function: fn }]);
  return {
    machine,
    fn,
    card,
    slot: machine.slot(0),
    status: () => machine.read(PORT, SLTSTA, 2),
    control: () => machine.read(PORT, SLTCTL, 2),
    command: (bits: number) => machine.write(PORT, SLTCTL, 2, bits),
    clear: (bits = 0xffff) => machine.write(PORT, SLTSTA, 2, bits),
  };
}

/** A card in use: the slot has power, the guest's driver listens to everything, and nothing is pending. */
export function inUse() {
  const all = bench();
  all.slot.insert(all.card);
  all.machine.complex.reset();
  all.machine.setBusNumbers(PORT, 0, 1, 1);
  all.command(AIC_OFF | PIC_ON | ALL_ENABLES);
  all.clear();
  all.machine.line.length = 0;
  const ejected: Occupant[] = [];
  all.slot.listen({ ejected: (_, occupant) => ejected.push(occupant) });
  return { ...all, ejected };
}

/** Messages to 0xfee00000 with data 0x30. */
export function enableMsi(machine: Bench): void {
  machine.setCommand(PORT, MASTER);
  machine.write(PORT, MSI + 4, 4, 0xfee0_0000);
  machine.write(PORT, MSI + 12, 2, 0x30);
  machine.write(PORT, MSI + 2, 2, 1);
}
