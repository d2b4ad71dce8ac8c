/** Writes what is in schemas/, for other programs: of manifests, and of the daemon's API. Part of the build. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { openApiDocument } from '../manager/control/openapi.js';
import { manifestJsonSchema } from './apply/manifest/schema.js';

const root = fileURLToPath(new URL('../..', import.meta.url));
const { version } = JSON.parse(readFileSync(`${root}/package.json`, 'utf8')) as { version: string };

function write(name: string, document: unknown): void {
  writeFileSync(`${root}/schemas/${name}`, `${JSON.stringify(document, null, 2)}\n`);
}

mkdirSync(`${root}/schemas`, { recursive: true });
write('manifest.schema.json', manifestJsonSchema());
write('openapi.json', openApiDocument(version));
