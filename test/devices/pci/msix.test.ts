import { describe, expect, it } from 'vitest';
import { MsixTable } from '../../../devices/pci/msix.js';

const ENTRY = 16;
const CONTROL = 12;

/** A table with vectors 0 to 2 set up and unmasked, and the messages that it sends, as a bus in software would. */
function make(vectorCount = 3) {
  const sent: [number, number][] = [];
  const send = (address: number, data: number): void => void sent.push([address, data]);
  const table: MsixTable = new MsixTable(vectorCount, (vector) => table.deliver(vector, send));
  for (let vector = 0; vector < Math.min(vectorCount, 3); vector++) {
    table.writeTable(vector * ENTRY, 4, 0xfee0_0000 + vector * 0x1000);
    table.writeTable(vector * ENTRY + 8, 4, 0x4000 + vector);
    table.writeTable(vector * ENTRY + CONTROL, 4, 0);
  }
  return { table, sent, fire: (vector: number) => table.deliver(vector, send) };
}

describe('an MSI-X table', () => {
  it('has every vector masked, and nothing else set, at power-on', () => {
    const table = new MsixTable(2, () => {});
    expect([0, 4, 8, 12].map((at) => table.readTable(ENTRY + at, 4))).toEqual([0, 0, 0, 1]);
    expect(table.readPba(0, 4)).toBe(0);
  });

  it('sends the message of its vector', () => {
    const { table, sent, fire } = make();
    table.setControl(true, false);
    fire(1);
    expect(sent).toEqual([[0xfee0_1000, 0x4001]]);
  });

  it('sends to 64-bit addresses', () => {
    const { table, sent, fire } = make();
    table.writeTable(4, 4, 0x12);
    table.setControl(true, false);
    fire(0);
    expect(sent).toEqual([[0x12_fee0_0000, 0x4000]]);
  });

  it('sends nothing, now or later, while MSI-X is off', () => {
    const { table, sent, fire } = make();
    fire(0);
    table.setControl(true, false);
    expect(sent).toEqual([]);
    expect(table.readPba(0, 4)).toBe(0);
  });

  it('keeps a masked vector pending, however often it fires, and sends it once when it is unmasked', () => {
    const { table, sent, fire } = make();
    table.setControl(true, false);
    table.writeTable(2 * ENTRY + CONTROL, 4, 1);
    fire(2);
    fire(2);
    expect(sent).toEqual([]);
    expect(table.readPba(0, 4)).toBe(0b100);
    table.writeTable(2 * ENTRY + CONTROL, 4, 0);
    expect(sent).toEqual([[0xfee0_2000, 0x4002]]);
    expect(table.readPba(0, 4)).toBe(0);
  });

  it('sends a pending vector where the guest pointed it meanwhile', () => {
    const { table, sent, fire } = make();
    table.setControl(true, false);
    table.writeTable(CONTROL, 4, 1);
    fire(0);
    table.writeTable(0, 4, 0xfee0_9000);
    table.writeTable(8, 4, 0x77);
    expect(sent).toEqual([]);
    table.writeTable(CONTROL, 4, 0);
    expect(sent).toEqual([[0xfee0_9000, 0x77]]);
  });

  it('keeps all vectors pending under the function mask, and sends those that are not masked themselves after it', () => {
    const { table, sent, fire } = make();
    table.setControl(true, true);
    table.writeTable(ENTRY + CONTROL, 4, 1);
    for (const vector of [2, 1, 0]) fire(vector);
    expect(table.readPba(0, 4)).toBe(0b111);
    table.writeTable(CONTROL, 4, 0);
    expect(sent).toEqual([]);
    table.setControl(true, false);
    expect(sent.map(([, data]) => data)).toEqual([0x4000, 0x4002]);
    expect(table.readPba(0, 4)).toBe(0b010);
  });

  it('keeps pending bits while MSI-X is switched off, and sends them once it is on', () => {
    const { table, sent, fire } = make();
    table.setControl(true, true);
    fire(0);
    table.setControl(false, false);
    expect(sent).toEqual([]);
    table.setControl(true, false);
    expect(sent).toHaveLength(1);
  });

  it('has pending bits for vectors beyond the first 32', () => {
    const { table, fire } = make(70);
    table.setControl(true, false);
    fire(69);
    expect(table.readPba(8, 4)).toBe(1 << 5);
    expect(table.readPba(8, 1)).toBe(1 << 5);
    expect(table.pbaBytes).toBe(16);
  });

  it('takes writes of every width and keeps no reserved bit', () => {
    const { table } = make();
    table.writeTable(0, 4, 0xffff_ffff);
    table.writeTable(CONTROL, 4, 0xffff_fffe);
    expect(table.readTable(0, 4)).toBe(0xffff_fffc);
    expect(table.readTable(CONTROL, 4)).toBe(0);
    table.writeTable(9, 1, 0xab);
    table.writeTable(10, 2, 0xcdef);
    expect(table.readTable(8, 4)).toBe(0xcdef_ab00);
    expect(table.readTable(10, 2)).toBe(0xcdef);
  });

  it('ignores writes that are not aligned, which would reach into two entries', () => {
    const { table } = make();
    const image = () => Array.from({ length: 3 * ENTRY }, (_, offset) => table.readTable(offset, 1));
    const before = image();
    for (let offset = 0; offset < 3 * ENTRY; offset++) {
      for (const width of [2, 4] as const) {
        if (offset % width !== 0) table.writeTable(offset, width, 0xffff_ffff);
      }
    }
    expect(image()).toEqual(before);
  });

  it('ignores what lies outside: offsets, vectors, writes to pending bits (CVE-2024-26327)', () => {
    const { table, sent, fire } = make();
    table.setControl(true, false);
    for (const offset of [3 * ENTRY, 3 * ENTRY - 2, -4, 2 ** 31]) {
      table.writeTable(offset, 4, 0xffff_ffff);
      expect(table.readTable(offset, 4)).toBe(0);
      expect(table.readPba(offset, 4)).toBe(0);
    }
    for (const vector of [3, -1, 0xffff, 2 ** 32]) fire(vector);
    expect(sent).toEqual([]);
  });

  it('is as at power-on after a reset', () => {
    const { table, sent, fire } = make();
    table.setControl(true, true);
    fire(1);
    table.reset();
    expect(table.enabled).toBe(false);
    table.setControl(true, false);
    table.writeTable(ENTRY + CONTROL, 4, 0);
    expect(sent).toEqual([]);
    expect(table.readTable(ENTRY, 4)).toBe(0);
  });

  it('holds 1 to 2,048 vectors', () => {
    expect(new MsixTable(2048, () => {}).tableBytes).toBe(32768);
    for (const count of [0, -1, 2049]) expect(() => new MsixTable(count, () => {})).toThrow(RangeError);
  });

  it('lets a handler mask the function while pending vectors are being sent', () => {
    const sent: number[] = [];
    const table: MsixTable = new MsixTable(2, (vector) => {
      table.deliver(vector, (_, data) => {
        sent.push(data);
        table.setControl(true, true);
      });
    });
    for (const vector of [0, 1]) {
      table.writeTable(vector * ENTRY + 8, 4, vector);
      table.writeTable(vector * ENTRY + CONTROL, 4, 0);
    }
    table.setControl(true, true);
    for (const vector of [0, 1]) table.deliver(vector, () => expect.unreachable());
    table.setControl(true, false);
    expect(sent).toEqual([0]);
    expect(table.readPba(0, 4)).toBe(0b10);
  });
});
