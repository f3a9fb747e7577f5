import { createServer } from 'node:net';
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { expect } from 'chai';
import type { Section, SectionName } from '@holdfast/shared/blueprint/blueprint';
import { collectBlueprint } from './collect.ts';
import { hostFiles } from './host-files.ts';

async function collect(...args: Parameters<typeof collectBlueprint>): Promise<Map<SectionName, Section>> {
  const sections = new Map<SectionName, Section>();
  for await (const [name, section] of collectBlueprint(...args)) sections.set(name, section);
  return sections;
}

describe('blueprint of a host', () => {
  let root: string;
  const write = (path: string, text: string): void => {
    mkdirSync(join(root, dirname(path)), { recursive: true });
    writeFileSync(join(root, path), text);
  };
  const sample = () => collect(new AbortController().signal, hostFiles(root), () => Promise.resolve(undefined));

  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), 'holdfast-blueprint-'));
  });
  afterEach(() => rmSync(root, { recursive: true }));

  it('has the packages of this very machine as dpkg lists them, and who listens on it', async () => {
    const server = createServer().listen(0, '127.0.0.1');
    await new Promise((resolve) => server.once('listening', resolve));
    const { port } = server.address() as { port: number };
    try {
      const sections = await collect(new AbortController().signal);
      const listed = execFileSync('dpkg-query', ['-W', '-f', '${Package}:${Architecture} ${Version}\n'], {
        encoding: 'utf8',
      })
        .trim()
        .split('\n')
        .map((line) => line.split(' '))
        .filter(([, version]) => version !== undefined && version !== '');
      const ours = sections.get('packages')!;
      expect(ours.size).to.be.greaterThan(50);
      for (const [name, version] of listed) expect(ours.get(name!)).to.have.property('version', version);
      expect(sections.get('listening')!.get(`tcp 127.0.0.1:${port}`))
        .to.have.property('program')
        .that.matches(/node/);
      expect(sections.get('users')!.get('root')).to.include({ uid: 0, home: '/root' });
      expect(sections.get('system')!.get('os.id')).to.be.a('string');
    } finally {
      server.close();
    }
  });

  it('tells held and automatic packages, and leaves out what was removed', async () => {
    write(
      'var/lib/dpkg/status',
      [
        'Package: dpkg\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1.21',
        'Package: nginx\nStatus: hold ok installed\nArchitecture: amd64\nVersion: 1.22-1\nDescription: a\n b',
        'Package: tzdata\nStatus: install ok installed\nArchitecture: all\nVersion: 2024',
        'Package: gone\nStatus: deinstall ok config-files\nArchitecture: amd64\nVersion: 1',
      ].join('\n\n'),
    );
    write('var/lib/apt/extended_states', 'Package: tzdata\nArchitecture: amd64\nAuto-Installed: 1\n');
    const found = (await sample()).get('packages')!;
    expect(Object.fromEntries(found)).to.deep.equal({
      'dpkg:amd64': { version: '1.21', held: false, automatic: false },
      'nginx:amd64': { version: '1.22-1', held: true, automatic: false },
      'tzdata:all': { version: '2024', held: false, automatic: true },
    });
  });

  it('tells enabled, masked and hand-written units, with their drop-ins', async () => {
    write('etc/systemd/system/shop.service', '[Service]\nExecStart=/opt/shop\n');
    write('etc/systemd/system/nginx.service.d/limits.conf', '[Service]\nLimitNOFILE=9\n');
    mkdirSync(join(root, 'etc/systemd/system/multi-user.target.wants'));
    symlinkSync(
      '/etc/systemd/system/shop.service',
      join(root, 'etc/systemd/system/multi-user.target.wants/shop.service'),
    );
    symlinkSync('/dev/null', join(root, 'etc/systemd/system/cups.service'));
    const found = (await sample()).get('units')!;
    expect(found.get('shop.service')).to.deep.include({ enabled: true, wantedBy: ['multi-user.target'] });
    expect(found.get('shop.service')).to.have.property('text').that.includes('ExecStart=/opt/shop');
    expect(found.get('cups.service')).to.deep.include({ enabled: false, masked: true });
    expect(found.get('nginx.service')).to.deep.include({
      dropIns: ['# limits.conf\n[Service]\nLimitNOFILE=9\n'],
      enabled: false,
    });
  });

  it('carries no password: not of accounts, repositories, mounts or tunnels', async () => {
    write('etc/passwd', 'erika:x:1000:1000:Erika:/home/erika:/bin/bash\n');
    write('etc/group', 'erika:x:1000:\nadm:x:4:erika\n');
    write('etc/shadow', 'erika:$y$hunter2$hash:19000:0:99999:7:::\n');
    write('etc/apt/sources.list', 'deb https://user:hunter2@repo.example/debian stable main\n');
    write('etc/fstab', '//nas/share /srv cifs username=x,password=hunter2 0 0\n');
    write('etc/systemd/network/wg0.netdev', '[WireGuard]\nPrivateKey=hunter2\n');
    const sections = await sample();
    const all = JSON.stringify(Array.from(sections, ([name, section]) => [name, ...section]));
    expect(all).not.to.include('hunter2');
    expect(sections.get('users')!.get('erika')).to.deep.include({ groups: ['adm'], password: 'set' });
  });

  it('reads no device, fifo or endless file', async () => {
    mkdirSync(join(root, 'etc/cron.d'), { recursive: true });
    execFileSync('mkfifo', [join(root, 'etc/cron.d/pipe')]);
    symlinkSync('/dev/zero', join(root, 'etc/cron.d/zero'));
    write('etc/cron.d/good', '* * * * * root true\n');
    expect([...(await sample()).get('cron')!.keys()]).to.deep.equal(['/etc/cron.d/good']);
  });
});
