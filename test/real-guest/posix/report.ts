import type { KnownLimit } from './known-limits.js';
import { failing, passed, type Results } from './results.js';
import { SERVERS, TITLES } from './servers.js';

const BEGIN = '<!-- results: written by the test -->';
const END = '<!-- end of results -->';

/** The part of docs/posix.md that the results make. */
export function report(results: Results, limits: readonly KnownLimit[]): string {
  return [BEGIN, '', areaTable(results), '', failureTable(results, limits), '', END].join('\n');
}

/** The same part of the page as it is. */
export function reportIn(page: string): string {
  return page.slice(page.indexOf(BEGIN), page.indexOf(END) + END.length);
}

/** The page with that part replaced. */
export function withReport(page: string, part: string): string {
  return page.replace(reportIn(page), () => part);
}

/**
 * What a report says of this project: the peers' columns are of the machine and the day that they were written on, since they depend on
 * what file system lies below.
 */
export function ownPart(part: string): string[] {
  const rows = part.split('\n').filter((line) => line.startsWith('| '));
  const own = 1 + SERVERS.indexOf('chassis');
  return rows.flatMap((line) => {
    const cells = line.split(' | ');
    const isCase = cells.length === SERVERS.length + 2 && !/^\d+$/.test(cells[1]);
    if (isCase) return cells[own] === 'passes' ? [] : [`${cells[0]} | ${cells[own]} | ${cells.at(-1)}`];
    return [`${cells[0]} | ${cells[1]} | ${cells[own + 1]}`];
  });
}

/** How many cases of each area pass. */
function areaTable(results: Results): string {
  const names = [...results.chassis.keys()];
  const areas = [...new Set(names.map(areaOf))].sort();
  const row = (title: string, cases: readonly string[]): string[] => [
    title,
    String(cases.length),
    ...SERVERS.map((server) => String(cases.filter((name) => passed(results, server, name)).length)),
  ];
  return table(
    ['area', 'cases', ...SERVERS.map((server) => TITLES[server])],
    [
      ...areas.map((area) =>
        row(
          area,
          names.filter((name) => areaOf(name) === area),
        ),
      ),
      row('all', names),
    ],
  );
}

/** The cases that do not pass everywhere. The limit is one of those that the page explains. */
function failureTable(results: Results, limits: readonly KnownLimit[]): string {
  const rows = failing(results)
    .sort()
    .map((name) => [
      name,
      ...SERVERS.map((server) => (passed(results, server, name) ? 'passes' : '**fails**')),
      limits.find(({ cases }) => cases.includes(name))?.id ?? '',
    ]);
  return table(['case', ...SERVERS.map((server) => TITLES[server]), 'limit'], rows);
}

function areaOf(name: string): string {
  return name.slice(0, name.indexOf(':'));
}

function table(heads: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;
  return [line(heads), `|${'---|'.repeat(heads.length)}`, ...rows.map(line)].join('\n');
}
