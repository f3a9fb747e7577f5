// The name server of the lab, BIND on mon-1: it holds the shop's zone, and whoever has the key may change it.

import { randomBytes } from 'node:crypto';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { putOnDisk } from './host-disk.ts';
import type { LabLayout } from './layout.ts';
import { machine, MACHINES, SERVICE_ADDRESS, ZONE } from './machines.ts';

/** The key that may change the zone, as a plan's secret is written: NAME ALGORITHM BASE64. */
export function dnsKeyFile(layout: LabLayout): string {
  return join(layout.dir, 'dns.key');
}

/** Written before mon-1 boots for the first time. */
export function prepareNameServer(layout: LabLayout): void {
  const host = 'mon-1';
  if (existsSync(dnsKeyFile(layout))) return;
  const secret = randomBytes(32).toString('base64');
  const { address } = machine(host);
  const config = `options {
  directory "/var/cache/bind";
  listen-on { 127.0.0.1; ${address}; };
  listen-on-v6 { none; };
  recursion no;
  dnssec-validation no;
  empty-zones-enable no;
};
controls { };
key shop-key { algorithm hmac-sha256; secret "${secret}"; };
zone "${ZONE}" { type primary; file "/var/lib/bind/${ZONE}"; update-policy { grant shop-key zonesub ANY; }; };
`;
  const addresses = MACHINES.map(({ name, address: own }) => `${name} A ${own}\n`).join('');
  const zone = `$TTL 30\n@ SOA ${host} root 1 3600 600 86400 30\n@ NS ${host}\n@ A ${SERVICE_ADDRESS}\n${addresses}`;
  putOnDisk(layout, host, '/etc/bind/named.conf', config);
  putOnDisk(layout, host, `/var/lib/bind/${ZONE}`, zone);
  writeFileSync(dnsKeyFile(layout), `shop-key hmac-sha256 ${secret}\n`, { mode: 0o600 });
}
