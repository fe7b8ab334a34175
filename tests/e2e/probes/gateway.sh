failed=$(systemctl --failed --no-legend --plain)
[ -z "$failed" ] || { echo "$failed"; exit 1; }
# An empty /oem is a configuration, and cloud-init has read it.
cloud-init status || [ $? = 2 ] || { cloud-init status --long; exit 1; }
systemctl is-active ssh
