import { readFileSync } from 'node:fs';
import { expect } from 'chai';
import { AGENT_VERSION } from './version.ts';

describe('version', () => {
  it('is the one of the package', () => {
    const text = readFileSync(new URL('../package.json', import.meta.url), 'utf8');
    expect(JSON.parse(text)).to.include({ version: AGENT_VERSION });
  });
});
