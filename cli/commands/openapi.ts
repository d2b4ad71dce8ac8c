import { openApiDocument, type OpenApiDocument } from '../../manager/control/openapi.js';
import { BaseCommand } from '../support/base-command.js';

export default class OpenApi extends BaseCommand {
  static override summary = "Print the OpenAPI document of the daemon's API.";
  static override description =
    'It is that of this version, whatever daemon runs, which serves its own at /openapi.json. docs/api.md has examples.';
  static override examples = [
    '<%= config.bin %> openapi > chassis.openapi.json',
    "<%= config.bin %> openapi | jq -r '.paths | keys[]'",
  ];

  async run(): Promise<OpenApiDocument> {
    await this.parse(OpenApi);
    const document = openApiDocument(this.config.version);
    this.log(JSON.stringify(document, null, 2));
    return document;
  }
}
