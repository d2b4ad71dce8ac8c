/** The page of `chassis serve --web` in a real browser, as somebody who looks at it uses it. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa, type ResultPromise } from 'execa';
import { chromium, type Browser, type BrowserContext, type Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest';
import { ChassisClient } from '../../manager/control/client.js';
import { BUILT_MAIN } from '../manager/built.js';
import { describeInBrowser } from './support/browser.js';

/** A busy machine draws slowly. */
const PATIENTLY_MS = 30_000;

describeInBrowser('the page, in a browser', (program) => {
  let directory: string;
  let daemon: ResultPromise;
  let url: string;
  let client: ChassisClient;
  let browser: Browser;
  let context: BrowserContext;
  let page: Page;
  /** What the browser complained of: scripts that failed, and what the policy of the page kept from being loaded. */
  let complaints: string[];

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'chassis-web-'));
    daemon = execa(process.execPath, [BUILT_MAIN, '--dir', directory, '--end', '--json', '--web', '0'], {
      reject: false,
    });
    const ready = await daemon[Symbol.asyncIterator]().next();
    ({ web: url } = JSON.parse(ready.value as string) as { web: string });
    client = new ChassisClient({ directory });
    await client.create('dev', { slots: 8 });
    await client.attach('dev', {
      mounts: ['src', 'docs'].map((tag) => ({ tag, source: { type: 'memory' } })),
    });
    browser = await chromium.launch({
      executablePath: program,
      args: ['--no-sandbox', '--disable-gpu'],
    });
  });
  afterAll(async () => {
    await browser?.close();
    daemon.kill('SIGTERM');
    await daemon;
    await rm(directory, { recursive: true });
  });

  beforeEach(async () => {
    context = await browser.newContext();
    context.setDefaultTimeout(PATIENTLY_MS);
    page = await context.newPage();
    complaints = [];
    page.on('pageerror', (error) => complaints.push(String(error)));
    page.on('console', (message) => message.type() === 'error' && complaints.push(message.text()));
    await page.goto(url);
    await page.getByText('connected', { exact: true }).waitFor();
  });
  afterEach(async () => {
    await context.close();
  });

  it('shows slots, functions and what is behind them as a picture and as a table, at an address without the token', async () => {
    expect(new URL(page.url()).search).toBe('');
    const picture = page.getByRole('img', { name: /Chassis dev: 8 slots, 1 in use by 2 devices/ });
    await picture.waitFor();
    expect(await picture.locator('text').allTextContents()).toEqual(
      expect.arrayContaining(['slot 1', '0: src', '1: docs', 'slot 2: empty', 'memory']),
    );
    const rows = page.getByRole('table', { name: 'What is plugged into dev' }).getByRole('row');
    expect(await rows.nth(1).getByRole('cell').allTextContents()).toEqual(
      expect.arrayContaining(['mount', '1.0', 'parked', 'memory (read and write)']),
    );
    expect(complaints).toEqual([]);
  });

  it('shows what others plug in and take out, at once, and tells it in words', async () => {
    await client.addDisk('dev', { name: 'root', source: { type: 'memory', sizeBytes: 2 ** 20 } });
    await page.getByRole('rowheader', { name: 'root' }).waitFor();
    await page.getByRole('img', { name: /3 devices/ }).waitFor();
    await page.getByText(/dev disk\.added/).waitFor();
    await client.removeDisk('dev', 'root');
    await page.getByRole('rowheader', { name: 'root' }).waitFor({ state: 'detached' });
    await client.create('other');
    await page.getByRole('heading', { name: 'other' }).waitFor();
    await client.delete('other');
    await page.getByRole('heading', { name: 'other' }).waitFor({ state: 'detached' });
    expect(complaints).toEqual([]);
  });

  it('attaches and detaches, by keyboard alone', async () => {
    await page.getByRole('form', { name: 'Attach a directory' }).first().getByLabel('Directory').focus();
    await page.keyboard.type(directory);
    await page.keyboard.press('Tab');
    await page.keyboard.type('typed');
    await page.keyboard.press('Tab');
    await page.keyboard.press('Space');
    await page.keyboard.press('Enter');
    await page.getByRole('rowheader', { name: 'typed' }).waitFor();
    expect(await client.mounts('dev')).toContainEqual(
      expect.objectContaining({
        tag: 'typed',
        source: { type: 'directory', path: directory },
        readOnly: true,
      }),
    );
    await page.getByRole('button', { name: 'Detach typed' }).focus();
    await page.keyboard.press('Enter');
    await page.getByRole('rowheader', { name: 'typed' }).waitFor({ state: 'detached' });
    expect((await client.mounts('dev')).map(({ tag }) => tag)).toEqual(['src', 'docs']);
  });

  it('says what was refused, and why, to those who do not look, too', async () => {
    const form = page.getByRole('form', { name: 'Attach a directory' }).first();
    await form.getByLabel('Directory').fill('/no/such/directory');
    await form.getByLabel('Tag').fill('x');
    await form.getByRole('button').click();
    await page.getByRole('alert').filter({ hasText: '/no/such/directory' }).waitFor();
    expect(await form.getByLabel('Tag').inputValue()).toBe('x');
  });

  it('adds a card to a switch, and pulls its cable', async () => {
    const form = page.getByRole('form', { name: 'Add a network card' }).first();
    await form.getByLabel('Name').fill('lan0');
    await form.getByLabel('Switch').fill('lan');
    await form.getByRole('button').click();
    await page.getByText('switch lan', { exact: true }).waitFor();
    await page.getByRole('button', { name: 'Pull cable lan0' }).click();
    await page.getByRole('button', { name: 'Plug cable lan0' }).waitFor();
    // Whoever pressed it is still there, though the table is another one.
    expect(await client.cards('dev')).toMatchObject([{ name: 'lan0', up: false }]);
    await page.getByRole('button', { name: 'Remove lan0' }).click();
    await page.getByRole('rowheader', { name: 'lan0' }).waitFor({ state: 'detached' });
  });

  it('takes no name for markup', async () => {
    const tag = '<img src=x onerror=alert(1)>"\'&amp;';
    await client.attach('dev', { mounts: [{ tag, source: { type: 'memory' } }], via: 'tree' });
    await page.getByRole('rowheader', { name: tag }).waitFor();
    expect(await page.locator('img, script:not([src])').count()).toBe(0);
    await client.detach('dev', tag);
    await page.getByRole('rowheader', { name: tag }).waitFor({ state: 'detached' });
    expect(complaints).toEqual([]);
  });

  it('is dark for those who want that', async () => {
    const paper = () => page.evaluate('getComputedStyle(document.body).backgroundColor');
    await page.emulateMedia({ colorScheme: 'light' });
    expect(await paper()).toBe('rgb(255, 255, 255)');
    await page.emulateMedia({ colorScheme: 'dark' });
    expect(await paper()).toBe('rgb(20, 23, 28)');
  });

  it('cannot be read or commanded by the page of another port of this host', async () => {
    const other = await context.newPage();
    // The browser has our cookie, and sends it to all ports.
    await other.route('http://127.0.0.1:1/', (route) =>
      route.fulfill({ contentType: 'text/html', body: 'evil' }),
    );
    await other.goto('http://127.0.0.1:1/');
    const origin = new URL(url).origin;
    const tried = await other.evaluate(
      `Promise.all([
        fetch('${origin}/v1/chassis', { credentials: 'include' }).then((answer) => answer.text(), () => 'blocked'),
        fetch('${origin}/v1/chassis/dev/mounts/src', { method: 'DELETE', credentials: 'include' }).then(() => 'sent', () => 'blocked'),
        fetch('${origin}/v1/chassis/dev/attach', { method: 'POST', mode: 'no-cors', credentials: 'include', body: '{}' }).then((answer) => answer.type, () => 'blocked'),
      ])`,
    );
    expect(tried).toEqual(['blocked', 'blocked', expect.stringMatching(/opaque|blocked/)]);
    expect((await client.mounts('dev')).map(({ tag }) => tag)).toContain('src');
  });
});
