import { Flags } from '@oclif/core';
import { BaseCommand } from '../support/base-command.js';
import { ratesBetween, sampleOf, type Rates, type Sample } from '../top/rates.js';
import { ratesTable, SORT_KEYS, type SortKey } from '../top/rates-text.js';
import { Screen } from '../top/screen.js';

const KEYS = Object.keys(SORT_KEYS) as SortKey[];
const HELP = 'q quits · ← → sort';

export default class Top extends BaseCommand {
  static override summary = 'Show what crosses mounts, disks and cards in a second, live.';
  static override description =
    'Requests, bytes, doorbells and interrupts in a second, and how long the median and the slowest hundredth of the requests took that were ' +
    'timed meanwhile (one in 16 is). In a terminal it goes on until q is pressed; arrows sort by another column. Otherwise, and with --once or --json, it looks ' +
    'twice and prints one table. Mounts of the tree count with the tree.';
  static override examples = [
    '<%= config.bin %> top',
    '<%= config.bin %> top --sort latency --interval 5',
    "<%= config.bin %> top --json | jq '.rates[] | {name, requests, p99Us}'",
  ];
  static override flags = {
    chassis: Flags.string({ char: 'c', description: 'One chassis alone' }),
    sort: Flags.option({
      options: KEYS,
      default: 'requests' as const,
      description: 'What the table is sorted by',
    })(),
    interval: Flags.integer({ min: 1, max: 3600, default: 1, description: 'Seconds between two looks' }),
    once: Flags.boolean({ description: 'Print one table, also in a terminal' }),
  };

  async run(): Promise<{ rates: Rates[] }> {
    const { flags } = await this.parse(Top);
    const intervalMs = flags.interval * 1000;
    const look = () => this.look(flags.chassis);
    if (flags.once || this.jsonEnabled() || !process.stdout.isTTY || !process.stdin.isTTY) {
      const before = await look();
      await new Promise((resolve) => setTimeout(resolve, intervalMs));
      const rates = ratesBetween(before, await look());
      this.log(ratesTable(rates, flags.sort));
      return { rates };
    }
    await this.live(look, flags.sort, intervalMs);
    return { rates: [] };
  }

  private async look(name: string | undefined): Promise<Sample> {
    const client = await this.client();
    const all = name === undefined ? await client.list() : [await client.get(name)];
    return sampleOf(all, performance.now());
  }

  private async live(look: () => Promise<Sample>, first: SortKey, intervalMs: number): Promise<void> {
    let sort = first;
    let rates: Rates[] = [];
    const ended = new AbortController();
    const show = () => screen.draw(`${ratesTable(rates, sort)}\n\n${HELP}`);
    const screen = new Screen({ input: process.stdin, output: process.stdout }, (key) => {
      if (key === 'q' || key === 'escape') return ended.abort();
      const step = key === 'right' ? 1 : key === 'left' ? -1 : 0;
      sort = KEYS[(KEYS.indexOf(sort) + step + KEYS.length) % KEYS.length];
      if (step !== 0) show();
    });
    let before = await look();
    screen.begin();
    try {
      screen.draw(`…\n\n${HELP}`);
      while (await passed(intervalMs, ended.signal)) {
        const now = await look();
        rates = ratesBetween(before, now);
        before = now;
        show();
      }
    } finally {
      screen.end();
    }
  }
}

/** False where it was ended before. */
function passed(ms: number, ended: AbortSignal): Promise<boolean> {
  return new Promise((resolve) => {
    if (ended.aborted) return resolve(false);
    const timer = setTimeout(() => {
      ended.removeEventListener('abort', end);
      resolve(true);
    }, ms);
    const end = (): void => {
      clearTimeout(timer);
      resolve(false);
    };
    ended.addEventListener('abort', end, { once: true });
  });
}
