// What deploy/ hands to an administrator is what the programs understand.

import { execFileSync } from 'node:child_process';
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { loadAgentConfig } from '@holdfast/agent/agent-config';
import { settingsSchema } from '@holdfast/controller/settings';
import { parseConfig } from '@holdfast/shared/runtime/config';
import { expect } from 'chai';
import { AGENT_NODE_FLAGS } from '../fleet/members.ts';

const deploy = fileURLToPath(new URL('../../deploy', import.meta.url));
const read = (...path: string[]): string => readFileSync(join(deploy, ...path), 'utf8');

/** The example with every setting in force that it shows as a comment. */
function withEverySetting(example: string): string {
  return example.replaceAll(/^#(?=( {2})?[a-z_]+:)/gm, '');
}

/** Values of a key in a unit, one per line that sets it. */
function unitValues(unit: string, key: string): string[] {
  return [...unit.matchAll(new RegExp(`^${key}=(.*)$`, 'gm'))].map((match) => match[1] ?? '');
}

describe('deploy/', () => {
  let scratch: string;
  before(() => void (scratch = mkdtempSync(join(tmpdir(), 'holdfast-deploy-'))));
  after(() => rmSync(scratch, { recursive: true, force: true }));

  it('agent.yaml is understood by the agent, also with every setting that it shows', () => {
    const config = join(scratch, 'agent.yaml');
    writeFileSync(config, read('agent.yaml'));
    const byDefault = loadAgentConfig({ config });
    expect(byDefault).to.include({ stateDir: '/var/lib/holdfast/agent', logLevel: 'info', logFile: undefined });
    writeFileSync(config, withEverySetting(read('agent.yaml')));
    // The defaults that it shows are the defaults.
    expect(loadAgentConfig({ config })).to.deep.equal({
      ...byDefault,
      logFile: '/var/log/holdfast/agent.log',
      peers: { ...byDefault.peers, advertise: '203.0.113.7:7402' },
    });
  });

  it('controller.yaml is understood by the controller, and shows every setting that there is', () => {
    const byDefault = parseConfig(read('controller.yaml'), 'controller.yaml', settingsSchema);
    expect(byDefault.data).to.equal('/var/lib/holdfast/controller');
    const everything = parseConfig(withEverySetting(read('controller.yaml')), 'controller.yaml', settingsSchema);
    expect(everything).to.deep.include({ listen: byDefault.listen, names: ['backup.example.net', '192.0.2.10'] });
    expect(Object.keys(everything)).to.have.members(Object.keys(settingsSchema.shape));
  });

  it('each program starts through its wrapper, also when that is reached by a link', function programs() {
    this.timeout(60_000);
    for (const name of readdirSync(join(deploy, 'bin'))) {
      expect(statSync(join(deploy, 'bin', name)).mode & 0o111, name).to.equal(0o111);
      symlinkSync(join(deploy, 'bin', name), join(scratch, name));
      const version = execFileSync(join(scratch, name), ['--version'], { cwd: '/', encoding: 'utf8' });
      expect(version, name).to.match(/\d+\.\d+\.\d+/);
    }
  });

  it('the agent runs with a small nursery, here as in a fleet', () => {
    expect(read('bin', 'holdfast-agent')).to.include(AGENT_NODE_FLAGS.join(' '));
  });

  it('units start the wrappers, with limits, and without new privileges', () => {
    for (const name of ['holdfast-agent', 'holdfast-controller']) {
      const unit = read('systemd', `${name}.service`);
      const [command = '', ...more] = unitValues(unit, 'ExecStart');
      expect(more).to.deep.equal([]);
      expect(command).to.match(new RegExp(`^/opt/holdfast/deploy/bin/${name} (run|serve)\\b`));
      expect(unitValues(unit, 'NoNewPrivileges')).to.deep.equal(['yes']);
      expect(unitValues(unit, 'MemoryMax')).to.have.length(1);
    }
  });

  it('systemd finds nothing to object to in the units', function units() {
    if (!existsSync('/usr/bin/systemd-analyze')) this.skip();
    for (const name of ['holdfast-agent.service', 'holdfast-controller.service']) {
      const unit = join(scratch, name);
      // There need not be an installation, nor its user, on the machine that runs the tests.
      writeFileSync(
        unit,
        read('systemd', name).replaceAll('/opt/holdfast/deploy', deploy).replaceAll('=holdfast\n', '=nobody\n'),
      );
      expect(
        execFileSync('systemd-analyze', ['verify', '--man=no', unit], { encoding: 'utf8', stdio: 'pipe' }),
      ).to.equal('');
    }
  });
});
