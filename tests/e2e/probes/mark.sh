check 'persistent partition' label_is /usr/local COS_PERSISTENT
check 'mark' can_write /usr/local
sync
exit "$bad"
