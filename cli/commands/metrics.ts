import { BaseCommand } from '../support/base-command.js';

export default class Metrics extends BaseCommand {
  static override summary = "Print what crossed all mounts, disks and cards, in Prometheus's text format.";
  static override description =
    'The same as the daemon answers at /metrics. docs/api.md says how to have it scraped.';
  static override examples = [
    '<%= config.bin %> metrics',
    "<%= config.bin %> metrics | grep '^chassis_requests_total'",
  ];

  async run(): Promise<{ text: string }> {
    await this.parse(Metrics);
    const text = await (await this.client()).metrics();
    this.log(text.trimEnd());
    return { text };
  }
}
