import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Ejection, type SlotView } from '../../../../devices/pci/topology/ejection.js';

const LIT: SlotView = { powerIndicator: 'on', isDark: false, buttonPending: false };
const BLINKING: SlotView = { ...LIT, powerIndicator: 'blink' };
const DARK: SlotView = { powerIndicator: 'off', isDark: true, buttonPending: false };
const PRESSED: SlotView = { ...LIT, buttonPending: true };

function ejection() {
  const done: string[] = [];
  const subject = new Ejection({
    pressButton: () => done.push('press'),
    takeOut: () => done.push('take out'),
    present: () => done.push('present'),
  });
  return { subject, done };
}

describe('an ejection', () => {
  it('that the guest took back can be asked for again', () => {
    const { subject, done } = ejection();
    subject.request(LIT);
    subject.advance(PRESSED);
    subject.request(PRESSED);
    subject.advance(BLINKING);
    subject.advance(LIT);
    expect(subject.state).toBe('refused');
    expect(done).toEqual(['press']);
    subject.request(LIT);
    expect(done).toEqual(['press', 'press']);
  });

  it('that was refused, or never asked for, is taken back without a press', () => {
    const { subject, done } = ejection();
    subject.request(BLINKING);
    subject.withdraw(BLINKING);
    expect(done).toEqual([]);
    subject.request(LIT);
    subject.advance(BLINKING);
    subject.advance(LIT);
    subject.withdraw(LIT);
    expect(subject.state).toBe('idle');
    expect(done).toEqual(['press']);
  });

  it('that is asked for again while it is taken back presses anew once that is over', () => {
    const { subject, done } = ejection();
    subject.request(LIT);
    subject.advance(BLINKING);
    subject.withdraw(BLINKING);
    expect(subject.state).toBe('withdrawn');
    subject.request({ ...BLINKING, buttonPending: true });
    subject.advance(BLINKING);
    expect(done).toEqual(['press', 'press']);
    subject.advance(LIT);
    expect(done).toEqual(['press', 'press', 'press']);
    subject.advance(BLINKING);
    subject.advance(DARK);
    expect(done.at(-1)).toBe('take out');
  });

  it('leaves a slot alone that nobody asked for', () => {
    const { subject, done } = ejection();
    for (const view of [LIT, BLINKING, DARK, PRESSED]) subject.advance(view);
    subject.withdraw(LIT);
    expect(done).toEqual([]);
  });

  it('never presses on a press that was not seen, and ends where the slot is dark', () => {
    const views = fc.constantFrom(LIT, BLINKING, DARK, PRESSED, { ...BLINKING, buttonPending: true });
    const step = fc.tuple(
      fc.constantFrom('request' as const, 'withdraw' as const, 'advance' as const),
      views,
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 20 }), (steps) => {
        const { subject, done } = ejection();
        for (const [method, view] of steps) {
          const { isWanted } = subject;
          done.length = 0;
          subject[method](view);
          if (view.buttonPending || view.isDark) expect(done).not.toContain('press');
          if (view.isDark && method === 'advance') expect(subject.state).toBe('idle');
          if (done.includes('take out')) expect(isWanted || method === 'request').toBe(true);
          if (done.includes('present')) expect(isWanted && method !== 'withdraw').toBe(false);
        }
      }),
      { numRuns: 500 },
    );
  });
});
