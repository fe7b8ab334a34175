//! Names of BuildKit's capabilities, as `solver/pb/caps.go` spells them.
//!
//! An operation lists those that it uses, so that a daemon that lacks one refuses the build instead of ignoring a field.

pub(super) const DESCRIPTION: &str = "meta.description";
pub(super) const DIFF: &str = "diffop";
pub(super) const EXEC_BASE: &str = "exec.meta.base";
pub(super) const EXEC_MOUNT_BIND: &str = "exec.mount.bind";
pub(super) const EXEC_MOUNT_CACHE: &str = "exec.mount.cache";
pub(super) const EXEC_MOUNT_CACHE_SHARING: &str = "exec.mount.cache.sharing";
pub(super) const EXEC_MOUNT_SECRET: &str = "exec.mount.secret";
pub(super) const EXEC_MOUNT_SELECTOR: &str = "exec.mount.selector";
pub(super) const EXEC_MOUNT_TMPFS: &str = "exec.mount.tmpfs";
pub(super) const EXEC_MOUNT_TMPFS_SIZE: &str = "exec.mount.tmpfs.size";
pub(super) const EXEC_NETWORK: &str = "exec.meta.network";
pub(super) const FILE_BASE: &str = "file.base";
pub(super) const FILE_COPY_ALWAYS_REPLACE: &str = "file.copy.alwaysreplaceexistingdestpaths";
pub(super) const FILE_COPY_PATTERNS: &str = "file.copy.includeexcludepatterns";
pub(super) const FILE_RM_WILDCARD: &str = "file.rm.wildcard";
pub(super) const FILE_SYMLINK: &str = "file.symlink.create";
pub(super) const GIT: &str = "source.git";
pub(super) const GIT_AUTH: &str = "source.git.httpauth";
pub(super) const GIT_FULL_URL: &str = "source.git.fullurl";
pub(super) const GIT_SSH: &str = "source.git.mountsshsock";
pub(super) const HTTP: &str = "source.http";
pub(super) const HTTP_CHECKSUM: &str = "source.http.checksum";
pub(super) const HTTP_PERM: &str = "source.http.perm";
pub(super) const IGNORE_CACHE: &str = "meta.ignorecache";
pub(super) const IMAGE: &str = "source.image";
pub(super) const LOCAL: &str = "source.local";
pub(super) const LOCAL_DIFFER: &str = "source.local.differ";
pub(super) const LOCAL_EXCLUDE: &str = "source.local.excludepatterns";
pub(super) const LOCAL_FOLLOW: &str = "source.local.followpaths";
pub(super) const LOCAL_INCLUDE: &str = "source.local.includepatterns";
pub(super) const LOCAL_SESSION: &str = "source.local.sessionid";
pub(super) const LOCAL_UNIQUE: &str = "source.local.unique";
pub(super) const LOCAL_SHARED_KEY: &str = "source.local.sharedkeyhint";
pub(super) const MERGE: &str = "mergeop";
pub(super) const OCI_LAYOUT: &str = "source.ocilayout";
pub(super) const PLATFORM: &str = "platform";
