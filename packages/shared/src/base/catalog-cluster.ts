// How a server that keeps a controller's catalog is known: by the name that its command line gives it (cluster_name).

export const CATALOG_CLUSTER = 'holdfast_catalog';
